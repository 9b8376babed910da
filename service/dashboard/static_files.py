"""`/static`: our style and scripts, and what they load from others."""

from fastapi import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from service.api.routing import public_router
from service.dashboard.pages import STATIC

router = public_router(tags=["dashboard"])

YEAR = "public, max-age=31536000, immutable"  # the address has a digest of the content

_files = StaticFiles(directory=STATIC, check_dir=False)


@router.get("/static/{path:path}", include_in_schema=False)
async def static_file(path: str, request: Request) -> Response:
    response = await _files.get_response(path, request.scope)
    response.headers["Cache-Control"] = YEAR if "v" in request.query_params else "no-cache"
    return response
