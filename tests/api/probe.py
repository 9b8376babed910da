"""Routes that exist to be called wrongly: the core's rules, without a resource around them."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import Field
from sqlalchemy import func, select

from rnn.errors import ConfigError, DataTooSmallError, InputMismatchError
from service.api.deps import ServicesDep
from service.api.routing import OnceDep, idempotent, produces, protected_router, requires, uploads
from service.api.schemas.base import StrictBody, View
from service.auth.store import ensure_workspace
from service.auth.subjects import Scope, Subject
from service.db.tables import Workspace
from service.json_values import Id, Timestamp

router = protected_router("/probe", tags=["probe"])

Reader = Annotated[Subject, requires(Scope.JOBS_READ)]
Writer = Annotated[Subject, requires(Scope.JOBS_WRITE)]

ERRORS: dict[str, Exception] = {
    "bug": RuntimeError("the secret detail"),
    "too-small": DataTooSmallError("5 rows, 8 needed"),
    "mismatch": InputMismatchError("3 features, 2 given"),
    "config": ConfigError("no"),
}


HOOKS: dict[str, Callable[[], None]] = {}  # what happens to a text before its answer is kept


class Everything(StrictBody):
    text: str = ""
    rate: Annotated[float, Field(gt=0, le=10)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0
    values: Annotated[list[float], Field(max_length=100)] = Field(default=[])
    metadata: dict[str, Any] = Field(default={})
    id: Id | None = None
    at: Timestamp | None = None


class Counted(View):
    name: str
    workspaces: int


@router.post("/echo")
def echo(body: Everything, subject: Writer) -> Everything:
    return body


@router.post("/once", status_code=201)
@idempotent
def once(body: Everything, response: Response, subject: Writer, services: ServicesDep) -> Counted:
    """Makes one record each time it really runs; the text "fail" makes it fail afterwards."""
    with services.database.transaction() as db:
        before = db.scalars(select(func.count()).select_from(Workspace)).one()
        ensure_workspace(db, f"made-{before}-{body.text}")
        if body.text == "fail":
            raise ERRORS["mismatch"]
    response.headers["Location"] = f"/made/{before}"
    return Counted(name=body.text, workspaces=before + 1)


@router.post("/kept", status_code=201)
@idempotent
def kept(
    body: Everything, response: Response, subject: Writer, services: ServicesDep, once: OnceDep
) -> Counted:
    """As `once`, with its answer kept in the same transaction."""
    with services.database.transaction() as db:
        before = db.scalars(select(func.count()).select_from(Workspace)).one()
        ensure_workspace(db, f"made-{before}-{body.text}")
        response.headers["Location"] = f"/made/{before}"
        view = Counted(name=body.text, workspaces=before + 1)
        HOOKS.get(body.text, lambda: None)()
        once.keep(db, view)
    return view


@router.post("/upload", status_code=201)
@uploads
async def upload(request: Request, subject: Writer) -> int:
    return sum([len(chunk) async for chunk in request.stream()])


@router.get("/events")
@produces("application/json", "text/event-stream")
async def events(subject: Reader) -> list[int]:
    return []


@router.get("/error/{name}")
def error(name: str, subject: Reader) -> None:
    raise ERRORS[name]
