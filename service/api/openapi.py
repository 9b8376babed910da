"""The OpenAPI document, for any key. Its interactive page is off: it loads code from elsewhere."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from service.api.problems import MEDIA_TYPE
from service.api.routing import protected_router, requires
from service.api.schemas.problems import Problem

router = protected_router("", tags=["openapi"])

_PROBLEM = {
    "description": "What went wrong: RFC 9457.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


@router.get("/openapi.json", include_in_schema=False, dependencies=[requires()])
async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, in which every operation can answer with a problem."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)  # FastAPI's own form, never sent
                operation["responses"].update({"4XX": _PROBLEM, "5XX": _PROBLEM})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
