"""The one page that needs no key: where a browser is given one."""

from starlette.responses import Response

from service.api.routing import public_router
from service.dashboard.pages import render_open

router = public_router(tags=["dashboard"])


@router.get("/sign-in", include_in_schema=False)
async def sign_in_page() -> Response:
    return render_open("sign_in.html")
