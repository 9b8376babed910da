"""`/browser-sessions`: a browser signs in with a key, and out again.

The key comes as everywhere in the Authorization header; what stays in the browser is a cookie that
its scripts cannot read.
"""

from typing import Annotated

from fastapi import Request, Response

from service.api.deps import ServicesDep
from service.api.middleware import COOKIE, SECURE_COOKIE
from service.api.routing import protected_router, requires
from service.auth import browsers
from service.auth.subjects import Subject

router = protected_router("/browser-sessions", tags=["keys"])

AnyKey = Annotated[Subject, requires()]


@router.post("", status_code=204)
def sign_in(request: Request, response: Response, subject: AnyKey, services: ServicesDep) -> None:
    """Sets the cookie of a new sign-in, in place of one that the browser may have had."""
    seconds = services.settings.browser_session_hours * 3600
    with services.database.transaction() as db:
        token = browsers.sign_in(db, subject.key_id, seconds)
    secure = request.url.scheme == "https"
    response.set_cookie(
        SECURE_COOKIE if secure else COOKIE,
        token,
        max_age=int(seconds),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


@router.delete("/current", status_code=204)
def sign_out(request: Request, response: Response, subject: AnyKey, services: ServicesDep) -> None:  # noqa: ARG001
    """Ends the sign-in of the cookie that the request came with; without one, nothing happens."""
    token = getattr(request.state, "browser_token", None)
    if token is not None:
        with services.database.transaction() as db:
            browsers.sign_out(db, token)
    _forget(response)


@router.delete("", status_code=204)
def sign_out_everywhere(response: Response, subject: AnyKey, services: ServicesDep) -> None:
    """Ends every sign-in with this key, in all browsers."""
    with services.database.transaction() as db:
        browsers.sign_out_everywhere(db, subject.key_id)
    _forget(response)


def _forget(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    response.delete_cookie(SECURE_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
