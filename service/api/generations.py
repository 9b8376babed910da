"""Texts drawn from a prompt, whole or streamed."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from msgspec.json import encode as to_json
from starlette.responses import Response, StreamingResponse

from service.api.deps import Services, ServicesDep
from service.api.direct import direct
from service.api.problems import answer_problem
from service.api.routing import produces, protected_router, requires
from service.api.schemas.generations import (
    Choice,
    ChoiceEnd,
    DoneEvent,
    DrawnToken,
    GenerationAnswer,
    GenerationBody,
    LikelyToken,
    Usage,
)
from service.api.schemas.models import AnsweringModel
from service.api.served import served_version
from service.auth.subjects import Scope, Subject
from service.errors import Fault, ServiceError, UnavailableError, ValidationError
from service.inference.options import DEFAULT_NEW_TOKENS, beam_faults, drawing, random_seed
from service.inference.requests import (
    GenerationEvent,
    GenerationRequest,
    PromptRead,
    TextFinished,
    TokenDrawn,
)
from service.settings import Settings

log = logging.getLogger(__name__)
router: APIRouter = protected_router("/generations", tags=["predictions"])

Events = AsyncGenerator[list[GenerationEvent], None]


@router.post(
    "",
    response_model=GenerationAnswer,
    responses={200: {"content": {"text/event-stream": {}}}},
)
@produces("application/json", "text/event-stream")
@direct
async def generate(
    body: GenerationBody,
    subject: Annotated[Subject, requires(Scope.PREDICT)],
    services: ServicesDep,
    request: Request,
) -> Response:
    """Continues a prompt. With `stream`: server-sent events."""
    wanted = _wanted(body, services.settings, subject)
    version = await served_version(services, subject, body.model, "text-generation")
    model = AnsweringModel(name=version.name, version=version.version)
    events = services.engine.generate(version, wanted)
    if body.stream:
        first = await anext(events)  # what is wrong from the start still has a status of its own
        return StreamingResponse(
            _stream(request, events, first, model, partial(_count, services, subject)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    answer = await _collect(events, wanted.n, model)
    _count(services, subject, answer.usage)
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


def _wanted(body: GenerationBody, settings: Settings, subject: Subject) -> GenerationRequest:
    """The engine's request; raises ValidationError past a limit of a field or of their product."""
    new_tokens = body.max_new_tokens or min(DEFAULT_NEW_TOKENS, settings.max_new_tokens)
    if len(body.prompt) > settings.max_text_chars:
        raise _too_large("prompt", f"{len(body.prompt)} characters", settings.max_text_chars)
    if new_tokens > settings.max_new_tokens:
        raise _too_large("max_new_tokens", f"{new_tokens} tokens", settings.max_new_tokens)
    _check_beams(body)
    rows = max(body.n, body.num_beams)
    if rows > settings.max_decode_slots:
        field = "n" if rows == body.n else "num_beams"
        raise _too_large(field, f"{rows} texts", settings.max_decode_slots)
    if rows * new_tokens > settings.max_request_new_tokens:
        total = f"{rows} x {new_tokens} tokens"
        raise _too_large("max_new_tokens", total, settings.max_request_new_tokens)
    return GenerationRequest(
        prompt=body.prompt,
        max_new_tokens=new_tokens,
        n=body.n,
        seed=random_seed() if body.seed is None else body.seed,
        logprobs=body.logprobs,
        num_beams=body.num_beams,
        length_penalty=1.0 if body.length_penalty is None else body.length_penalty,
        owner=str(subject.workspace_id),
        **drawing(body),
    )


def _check_beams(body: GenerationBody) -> None:
    """Raises ValidationError for what makes no sense beside beams, or without them."""
    searching = body.num_beams > 1
    faults = beam_faults(body)
    if searching and body.stream:
        faults.append(
            Fault(("body", "stream"), "a search with num_beams has no text before its end")
        )
    if searching and body.n > body.num_beams:
        message = f"{body.n} texts of {body.num_beams} beams: at most as many"
        faults.append(Fault(("body", "n"), message))
    if faults:
        raise ValidationError("The request contradicts itself.", faults=faults)


def _too_large(field: str, amount: str, limit: int) -> ValidationError:
    message = f"{amount}, the limit is {limit}"
    fault = Fault(("body", field), message)
    return ValidationError(f"The request is too large: {message}.", faults=[fault])


async def _collect(events: Events, n: int, model: AnsweringModel) -> GenerationAnswer:
    pieces: list[list[str]] = [[] for _ in range(n)]
    drawn: list[list[DrawnToken]] = [[] for _ in range(n)]
    ends: dict[int, TextFinished] = {}
    async with aclosing(events):
        async for came in events:
            for event in came:
                match event:
                    case PromptRead():
                        read = event
                    case TokenDrawn():
                        pieces[event.index].append(event.text)
                        if event.logprob is not None:
                            drawn[event.index].append(_drawn(event, event.logprob))
                    case TextFinished():
                        pieces[event.index].append(event.text)
                        ends[event.index] = event
    return GenerationAnswer(
        model=model,
        choices=[
            Choice(
                index=index,
                text="".join(pieces[index]),
                finish_reason=ends[index].finish_reason,
                logprobs=drawn[index] or None,
            )
            for index in range(n)
        ],
        usage=_usage(read, ends),
    )


def _drawn(event: TokenDrawn, logprob: float) -> DrawnToken:
    likeliest = [
        LikelyToken(token=each.token, text=each.text, logprob=each.logprob)
        for each in event.likeliest
    ]
    return DrawnToken(token=event.token, logprob=logprob, likeliest=likeliest)


def _count(services: Services, subject: Subject, usage: Usage) -> None:
    services.usage.count(subject, "prompt_tokens", usage.prompt_tokens)
    services.usage.count(subject, "generated_tokens", usage.completion_tokens)


def _usage(read: PromptRead, ends: dict[int, TextFinished]) -> Usage:
    return Usage(
        prompt_tokens=read.tokens,
        cached_tokens=read.cached_tokens,
        completion_tokens=sum(end.tokens for end in ends.values()),
    )


async def _stream(
    request: Request,
    events: Events,
    first: list[GenerationEvent],
    model: AnsweringModel,
    count: Callable[[Usage], None],
) -> AsyncGenerator[bytes, None]:
    """Server-sent events, those that came together in one piece. Ended by the client's going away:
    `events` is closed, rows are freed. A whole answer is given to `count`."""
    read, *came = first
    assert isinstance(read, PromptRead)
    ends: dict[int, TextFinished] = {}
    try:
        async with aclosing(events):
            if told := _told(came, ends):
                yield told
            async for came in events:
                if told := _told(came, ends):
                    yield told
    except asyncio.CancelledError:
        # The client has gone and sees nothing of this, or the server's time to stop is up.
        yield await _error_event(request, UnavailableError("The server is stopping."))
        raise
    except Exception as error:
        if not isinstance(error, ServiceError):
            log.exception("a stream of generated text failed")
        yield await _error_event(request, error)
    else:
        done = DoneEvent(
            model=model,
            choices=[
                ChoiceEnd(index=index, finish_reason=end.finish_reason)
                for index, end in sorted(ends.items())
            ],
            usage=_usage(read, ends),
        )
        count(done.usage)
        yield _sse(b"done", done.model_dump())


def _told(events: Sequence[GenerationEvent], ends: dict[int, TextFinished]) -> bytes:
    """The texts that came, as `event: token`; notes which of them ended."""
    told = b""
    for event in events:
        assert not isinstance(event, PromptRead)
        data = {"index": event.index, "text": event.text}
        if isinstance(event, TextFinished):
            ends[event.index] = event
        elif event.logprob is not None:
            data |= _drawn(event, event.logprob).model_dump()
        if event.text or "logprob" in data:
            told += _sse(b"token", data)
    return told


async def _error_event(request: Request, error: Exception) -> bytes:
    problem = await answer_problem(request, error)
    return b"event: error\ndata: " + bytes(problem.body) + b"\n\n"


def _sse(name: bytes, data: dict[str, Any]) -> bytes:
    return b"event: " + name + b"\ndata: " + to_json(data) + b"\n\n"
