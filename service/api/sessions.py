"""Live sessions: a network that goes on from where its last step ended, on any API process."""

import hashlib
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api import session_steps
from service.api.deps import Services, ServicesDep
from service.api.direct import direct
from service.api.pagination import Page
from service.api.routing import idempotent, protected_router, requires
from service.api.schemas.models import AnsweringModel
from service.api.schemas.sessions import (
    SessionCopy,
    SessionCreation,
    SessionExport,
    SessionImport,
    SessionMigration,
    SessionRestore,
    SessionState,
    SessionStep,
    SessionView,
    SnapshotView,
    StepAnswer,
)
from service.api.served import find_version
from service.auth.subjects import Scope, Subject
from service.errors import (
    ConflictError,
    Fault,
    IdempotencyMismatchError,
    ModelTaskMismatchError,
    NotFoundError,
    ValidationError,
)
from service.inference.options import random_seed
from service.inference.requests import ServedVersion
from service.sessions import exports
from service.sessions.records import Held, Pinned, Session

router: APIRouter = protected_router("/sessions", tags=["sessions"])

Predicting = Annotated[Subject, requires(Scope.PREDICT)]


@router.post("", status_code=201)
@idempotent
async def create_session(
    body: SessionCreation, response: Response, subject: Predicting, services: ServicesDep
) -> SessionView:
    """Pins a session to the version that the model's name stands for now."""
    ttl_seconds = _ttl(body.ttl_seconds, services)
    version = await find_version(services, subject, body.model)
    begun = _begun(body, version)
    first = session_steps.first_request(version.task, version.sha256, begun)
    answer = await services.engine.advance(version, first)
    pinned = Pinned(
        version.name,
        version.version,
        version.task,
        version.sha256,
        ttl_seconds,
        body.metadata,
        begun,
        body.migratable,
    )
    return await _create(services, subject, response, pinned, answer.state)


@router.get("")
async def list_sessions(
    subject: Predicting,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Records in this answer.")] = 50,
    after: Annotated[
        str | None, Query(description="Id of the last record that was already seen.")
    ] = None,
) -> Page[SessionView]:
    """Those that are alive, newest first."""
    if after is not None and services.names.made_at_ms(subject.workspace_id, after) is None:
        fault = Fault(("query", "after"), "is not the id of a record of this list")
        raise ValidationError("The page cannot be found.", faults=[fault])
    page, has_more = await services.sessions.newest(subject.workspace_id, limit, after)
    return Page(data=[view(services, session) for session in page], has_more=has_more)


@router.get("/{session_id}")
async def get_session(session_id: str, subject: Predicting, services: ServicesDep) -> SessionView:
    session = await services.sessions.get(subject.workspace_id, session_id)
    return view(services, session)


@router.post("/{session_id}/steps", response_model=StepAnswer)
@direct
async def step(
    session_id: str, body: SessionStep, subject: Predicting, services: ServicesDep
) -> Response:
    """Goes on with what is new, and answers what is asked for."""
    content = await take_step(services, subject, session_id, body)
    return Response(content, media_type="application/json")


@router.get("/{session_id}/state", response_model=SessionState)
async def state(session_id: str, subject: Predicting, services: ServicesDep) -> Response:
    """The hidden vector of each layer after all that the session was given, as one pass over it
    leaves them."""
    held = await services.sessions.hold(subject.workspace_id, session_id)
    session, pinned = held.session, held.session.pinned
    version = await _pinned_version(services, subject, pinned)
    found = await services.engine.look(version, held.state)
    shown = {
        "session": session.id,
        "seq": session.seq,
        "model": {"name": pinned.model, "version": pinned.version},
        "task": pinned.task,
        "length": found.length,
        "layers": found.hidden_lh.tolist(),
    }
    return Response(await run_in_threadpool(to_json, shown), media_type="application/json")


@router.post("/{session_id}/fork", status_code=201)
@idempotent
async def fork(
    session_id: str,
    response: Response,
    subject: Predicting,
    services: ServicesDep,
    body: SessionCopy | None = None,
) -> SessionView:
    """Another session that goes on from the same state."""
    held = await services.sessions.hold(subject.workspace_id, session_id)
    copied = _copied(held.session.pinned, body or SessionCopy(), services)
    return await _create(services, subject, response, copied, held.state)


@router.post("/{session_id}/snapshot", status_code=201)
@idempotent
async def snapshot(session_id: str, subject: Predicting, services: ServicesDep) -> SnapshotView:
    """Keeps the state for `/restore`, as long as the session lives."""
    session = await services.sessions.get(subject.workspace_id, session_id)
    kept = services.settings.max_session_snapshots
    number = await services.sessions.snapshot(session, kept=kept)
    return SnapshotView(snapshot=number, seq=session.seq)


@router.post("/{session_id}/restore")
async def restore(
    session_id: str, body: SessionRestore, subject: Predicting, services: ServicesDep
) -> SessionView:
    """Takes the session back to a snapshot. The next step has the next number all the same."""
    session = await services.sessions.get(subject.workspace_id, session_id)
    await services.sessions.restore(session, body.snapshot)
    return view(services, await services.sessions.get(subject.workspace_id, session_id))


@router.post("/{session_id}/export")
async def export(session_id: str, subject: Predicting, services: ServicesDep) -> SessionExport:
    """The state as a signed text, for `/import` in this workspace."""
    held = await services.sessions.hold(subject.workspace_id, session_id)
    pinned = held.session.pinned
    exported = exports.Exported(pinned, held.state)
    return SessionExport(
        model=_model(pinned),
        task=pinned.task,
        state=exports.write(services.signer, subject.workspace_id, exported),
    )


@router.post("/import", status_code=201)
@idempotent
async def import_session(
    body: SessionImport, response: Response, subject: Predicting, services: ServicesDep
) -> SessionView:
    """Another session that goes on from an exported state."""
    exported = exports.read(services.signer, subject.workspace_id, body.state)
    await _pinned_version(services, subject, exported.pinned)
    copied = _copied(exported.pinned, body, services)
    return await _create(services, subject, response, copied, exported.state)


@router.post("/{session_id}/migrate")
async def migrate(
    session_id: str, body: SessionMigration, subject: Predicting, services: ServicesDep
) -> SessionView:
    """Pins the session to another version, which reads all that the session was given so far."""
    session = await services.sessions.get(subject.workspace_id, session_id)
    pinned = session.pinned
    if not pinned.migratable:
        raise ConflictError("The session keeps no inputs: it was not made migratable.")
    kept = await services.sessions.inputs(session)
    if kept is None:
        raise ConflictError(
            "The inputs of the session are not all there: they were more than "
            f"{services.settings.max_session_input_bytes} bytes, or it was restored."
        )
    version = await find_version(services, subject, body.model or pinned.model)
    if version.name != pinned.model:
        message = f"is not a version of {pinned.model!r}"
        fault = Fault(("body", "model"), message)
        raise ValidationError(f"{version.name!r} {message}.", faults=[fault])
    first = session_steps.first_request(pinned.task, version.sha256, pinned.begun)
    answer = await services.engine.advance(version, first)
    if kept:
        again = session_steps.replay(pinned.task, version.sha256, answer.state, kept)
        answer = await services.engine.advance(version, again)
    moved = pinned.moved(version.version, version.sha256)
    await services.sessions.commit(session, {"pinned": moved.to_json(), "state": answer.state})
    return view(services, await services.sessions.get(subject.workspace_id, session_id))


@router.delete("/{session_id}", status_code=204)
async def delete_session(session_id: str, subject: Predicting, services: ServicesDep) -> None:
    await services.sessions.delete(subject.workspace_id, session_id)


async def take_step(
    services: Services, subject: Subject, session_id: str, body: SessionStep
) -> bytes:
    """The JSON of a StepAnswer.

    What counts is the order of commits: of two steps at the same time the second one is refused,
    and an answer is only sent once Redis has it.
    """
    if body.seq is not None:
        recalled = services.sessions.recall(subject.workspace_id, session_id, body.seq)
        if recalled is not None:
            with suppress(ConflictError):  # it went on elsewhere: Redis knows how
                return await _step_from(services, subject, recalled, body)
    held = await services.sessions.hold(subject.workspace_id, session_id)
    return await _step_from(services, subject, held, body)


async def _step_from(services: Services, subject: Subject, held: Held, body: SessionStep) -> bytes:
    session, pinned = held.session, held.session.pinned
    session_steps.check(pinned.task, body, services.settings)
    digest = hashlib.sha256(body.model_dump_json(exclude={"seq"}).encode()).digest()
    if body.seq is not None and not _is_next(held, body.seq, digest):
        return _answer(session, held.answer)
    version = await _pinned_version(services, subject, pinned)
    request = session_steps.request(pinned.task, version.sha256, held.state, body)
    found = await services.engine.advance(version, request)
    result = session_steps.result(body, found)
    limit = services.settings.max_session_answer_bytes
    if len(result) > limit:
        raise ValidationError(
            f"The answer would have {len(result)} bytes, the limit is {limit}: ask for less."
        )
    head = to_json({"model": {"name": pinned.model, "version": pinned.version}})
    answer = head[:-1] + b',"result":' + result + b"}"
    inputs = session_steps.inputs(body, found) if pinned.migratable else b""
    after = await services.sessions.step(Held(session, found.state, digest, answer), inputs)
    services.usage.count(subject, "session_steps")
    return _answer(after, answer)


def _is_next(held: Held, seq: int, digest: bytes) -> bool:
    """Whether a step is the next one; False where it is the last one again.

    Raises IdempotencyMismatchError where it has the number of the last one and another body,
    ConflictError where it has any other number.
    """
    last = held.session.seq
    if seq == last + 1:
        return True
    if seq != last:
        raise ConflictError(f"The last step of this session was {last}, this one is {seq}.")
    if digest != held.digest:
        raise IdempotencyMismatchError(f"Step {seq} came with another body before.")
    return False


def _answer(session: Session, stored: bytes) -> bytes:
    head = to_json({"session": session.id, "seq": session.seq, "expires_at": session.expires_at})
    return head[:-1] + b"," + stored[1:]


def _begun(body: SessionCreation, version: ServedVersion) -> dict[str, Any]:
    """What the first state is made of. Raises ModelTaskMismatchError for another task's fields."""
    task = version.task
    if body.task not in (None, task):
        raise ModelTaskMismatchError(
            f"The model {version.name!r} was trained for {task}, not for {body.task}."
        )
    for_series = body.static_covariates or body.start is not None
    if task != session_steps.FORECASTING and for_series:
        raise ModelTaskMismatchError(
            f"The model {version.name!r} was trained for {task}: it has no series with a start or "
            "static covariates."
        )
    if task != session_steps.GENERATION and body.seed is not None:
        raise ModelTaskMismatchError(
            f"The model {version.name!r} was trained for {task}: it draws nothing from a seed."
        )
    if task == session_steps.FORECASTING:
        start = None if body.start is None else body.start.isoformat()
        return {"static": body.static_covariates, "start": start}
    if task == session_steps.GENERATION:
        seed = random_seed() if body.seed is None else body.seed
        return {"seed": seed}
    return {}


def _copied(pinned: Pinned, body: SessionCopy, services: Services) -> Pinned:
    ttl_seconds = body.ttl_seconds or min(
        pinned.ttl_seconds, services.settings.max_session_ttl_seconds
    )
    return pinned.copied(_ttl(ttl_seconds, services), body.metadata)


def _ttl(wanted: int | None, services: Services) -> int:
    settings = services.settings
    longest = settings.max_session_ttl_seconds
    if wanted is None:
        return min(settings.session_ttl_seconds, longest)
    if wanted > longest:
        message = f"{wanted} seconds, the limit is {longest}"
        fault = Fault(("body", "ttl_seconds"), message)
        raise ValidationError(f"The session would live too long: {message}.", faults=[fault])
    return wanted


async def _create(
    services: Services,
    subject: Subject,
    response: Response,
    pinned: Pinned,
    state: bytes,
) -> SessionView:
    session = await services.sessions.create(
        subject.workspace_id, pinned, state, max_sessions=services.settings.max_sessions
    )
    response.headers["Location"] = f"/api/v1/sessions/{quote(session.id)}"
    return view(services, session)


async def _pinned_version(services: Services, subject: Subject, pinned: Pinned) -> ServedVersion:
    """The version of a session; raises ConflictError where it was deleted."""
    try:
        version = await find_version(services, subject, f"{pinned.model}:{pinned.version}")
    except NotFoundError:
        version = None
    if version is None or version.sha256 != pinned.sha256:
        raise ConflictError(
            f"Version {pinned.version} of the model {pinned.model!r}, which the session belongs "
            "to, was deleted."
        )
    return version


def _model(pinned: Pinned) -> AnsweringModel:
    return AnsweringModel(name=pinned.model, version=pinned.version)


def view(services: Services, session: Session) -> SessionView:
    """As it is shown."""
    pinned = session.pinned
    oldest = max(1, session.snapshots - services.settings.max_session_snapshots + 1)
    return SessionView(
        id=session.id,
        model=_model(pinned),
        task=pinned.task,
        created_at=session.created_at,
        expires_at=session.expires_at,
        ttl_seconds=pinned.ttl_seconds,
        seq=session.seq,
        metadata=dict(pinned.metadata),
        migratable=pinned.migratable,
        snapshots=list(range(oldest, session.snapshots + 1)),
    )
