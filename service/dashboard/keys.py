"""The page of API keys: they are listed, made and revoked."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from service.api import keys
from service.api.deps import ServicesDep
from service.api.pagination import PageDep
from service.api.routing import produces, protected_router, requires
from service.api.schemas.keys import KeyView
from service.auth.subjects import Scope, Subject
from service.dashboard.pages import render

router = protected_router("/keys", tags=["dashboard"])

KeyAdmin = Annotated[Subject, requires(Scope.KEYS_ADMIN)]


@router.get("", include_in_schema=False)
@produces("text/html")
def keys_page(
    request: Request, subject: KeyAdmin, services: ServicesDep, page: PageDep
) -> Response:
    found = keys.list_keys(page, subject, services)
    now = datetime.now(UTC)
    return render(
        request,
        "keys.html",
        keys=[(key, state_of(key, now)) for key in found.data],
        has_more=found.has_more,
        after=page.after,
        own=subject.key_id,
        scopes=[scope for scope in Scope if scope in subject.scopes],
    )


def state_of(key: KeyView, now: datetime) -> str:
    """One word for a key at a time."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    if key.not_before is not None and key.not_before > now:
        return "not yet"
    return "valid"
