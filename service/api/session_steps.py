"""A step of a session between HTTP and the engine: what is asked, how the answer is written."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json

from service.api.schemas.sessions import SessionStep
from service.api.sentiment import LOW_KNOWN_SHARE
from service.errors import Fault, ValidationError
from service.inference.live_requests import (
    LabelAnswer,
    LabelStep,
    LiveAnswer,
    LiveRequest,
    SeriesAnswer,
    SeriesStep,
    TextAnswer,
    TextStep,
)
from service.inference.options import (
    ClassificationOptions,
    ForecastOptions,
    GenerationOptions,
    drawing,
)
from service.inference.requests import LikelyToken
from service.settings import Settings

FORECASTING, CLASSIFICATION, GENERATION = (
    "time-series-forecasting",
    "text-classification",
    "text-generation",
)
FIELDS: dict[str, frozenset[str]] = {
    FORECASTING: frozenset(
        {"values", "past_covariates", "future_covariates", *ForecastOptions.model_fields}
    ),
    CLASSIFICATION: frozenset({"text", *ClassificationOptions.model_fields}),
    GENERATION: frozenset({"text", "top", "logprobs", *GenerationOptions.model_fields}),
}
# A step that has none of these does nothing.
WORK: dict[str, tuple[str, ...]] = {
    FORECASTING: ("values", "horizon"),
    CLASSIFICATION: ("text",),
    GENERATION: ("text", "max_new_tokens", "top"),
}


def first_request(task: str, network: str, begun: Mapping[str, Any]) -> LiveRequest:
    """What makes the state that a session begins with.

    Args:
        begun: as `service.sessions.records.Pinned` keeps it.
    """
    if task == FORECASTING:
        static = tuple(begun["static"].items())
        return SeriesStep(network, b"", np.empty(0), static=static, start=begun["start"])
    if task == CLASSIFICATION:
        return LabelStep(network, b"")
    return TextStep(network, b"", first_seed=begun["seed"])


def check(task: str, body: SessionStep, settings: Settings) -> None:
    """Raises ValidationError for fields of another task, nothing to do, and too much of it."""
    foreign = sorted(body.model_fields_set - FIELDS[task] - {"seq"})
    if foreign:
        message = f"is not for {task}"
        raise ValidationError(
            f"The session's model was trained for {task}.",
            faults=[Fault(("body", name), message) for name in foreign],
        )
    if not any(getattr(body, name) for name in WORK[task]):
        names = " or ".join(WORK[task])
        fault = Fault(("body", WORK[task][0]), "is missing")
        raise ValidationError(f"A step needs {names}.", faults=[fault])
    points = sum(map(len, _lists(body)))
    horizon = body.horizon or 0
    for name, amount, unit, limit in (
        ("values", len(body.values or ()), "values", settings.max_series_points),
        ("values", points, "values with covariates", settings.max_request_points),
        ("text", len(body.text or ""), "characters", settings.max_text_chars),
        ("max_new_tokens", body.max_new_tokens or 0, "tokens", settings.max_new_tokens),
        (
            "horizon",
            horizon * (len(body.quantiles) + 1),
            "numbers in the answer",
            settings.max_forecast_values,
        ),
    ):
        if amount > limit:
            message = f"{amount} {unit}, the limit is {limit}"
            fault = Fault(("body", name), message)
            raise ValidationError(f"The step is too large: {message}.", faults=[fault])


def _lists(body: SessionStep) -> Iterable[list[float | None]]:
    return (body.values or [], *body.past_covariates.values(), *body.future_covariates.values())


def request(task: str, network: str, state: bytes, body: SessionStep) -> LiveRequest:
    """The engine's request for a step that was checked."""
    if task == FORECASTING:
        return SeriesStep(
            network,
            state,
            _array(body.values or []),
            past=tuple((name, _array(each)) for name, each in body.past_covariates.items()),
            future=tuple((name, _array(each)) for name, each in body.future_covariates.items()),
            horizon=body.horizon,
            quantiles=tuple(body.quantiles),
        )
    if task == CLASSIFICATION:
        return LabelStep(network, state, body.text or "")
    return TextStep(
        network,
        state,
        text=body.text or "",
        max_new_tokens=body.max_new_tokens or 0,
        seed=body.seed,
        logprobs=body.logprobs,
        top=body.top,
        **drawing(body),
    )


def inputs(body: SessionStep, answer: LiveAnswer) -> bytes:
    """What a step brought, as it is kept to be read again by another version."""
    if isinstance(answer, TextAnswer):
        return to_json({"text": answer.read})
    length = len(body.values or ())
    return to_json(
        {
            "text": body.text or "",
            "values": body.values or [],
            "past": body.past_covariates,
            "future": {name: each[:length] for name, each in body.future_covariates.items()},
        }
    )


def replay(task: str, network: str, state: bytes, kept: list[bytes]) -> LiveRequest:
    """One step with all inputs that were kept."""
    steps = [from_json(each) for each in kept]
    if task != FORECASTING:
        text = "".join(step["text"] for step in steps)
        if task == CLASSIFICATION:
            return LabelStep(network, state, text)
        return TextStep(network, state, text)
    return SeriesStep(
        network,
        state,
        _array([number for step in steps for number in step["values"]]),
        _joined([step["past"] for step in steps if step["values"]]),
        _joined([step["future"] for step in steps if step["values"]]),
    )


def _joined(steps: list[dict[str, list[float | None]]]) -> tuple[tuple[str, np.ndarray], ...]:
    """Each covariate over all steps, which have the same ones."""
    return tuple(
        (name, _array([number for step in steps for number in step[name]])) for name in steps[0]
    )


def _array(numbers: list[float | None]) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)


def result(body: SessionStep, answer: LiveAnswer) -> bytes:
    """The JSON of a `StepAnswer.result`."""
    match answer:
        case SeriesAnswer():
            return to_json(_series(body, answer))
        case LabelAnswer():
            return to_json(_labels(body, answer))
        case TextAnswer():
            return to_json(_text(body, answer))


def _series(body: SessionStep, answer: SeriesAnswer) -> dict[str, Any]:
    if answer.mean_t is None or answer.quantiles_qt is None:
        return {"timesteps": answer.length}
    names = [str(level) for level in body.quantiles]
    return {
        "timesteps": answer.length,
        "mean": answer.mean_t.tolist(),
        "quantiles": dict(zip(names, answer.quantiles_qt.tolist(), strict=True)),
    }


def _labels(body: SessionStep, answer: LabelAnswer) -> dict[str, Any]:
    order = np.argsort(-answer.probabilities_c, kind="stable").tolist()
    scores = [
        {"label": answer.labels[place], "score": float(answer.probabilities_c[place])}
        for place in order
    ]
    found = {
        **scores[0],
        "tokens": answer.length,
        "truncated": answer.truncated,
        "known_share": answer.known_share,
        "low_confidence": answer.known_share < LOW_KNOWN_SHARE,
    }
    return {**found, "scores": scores} if body.all_scores else found


def _text(body: SessionStep, answer: TextAnswer) -> dict[str, Any]:
    found: dict[str, Any] = {"tokens": answer.length}
    if body.max_new_tokens:
        found |= {"text": answer.text, "finish_reason": answer.finish_reason}
        if body.logprobs is not None:
            found["logprobs"] = [
                {
                    "token": token,
                    "logprob": logprob,
                    "likeliest": _told(likeliest),
                }
                for token, logprob, likeliest in zip(
                    answer.tokens, answer.logprobs, answer.likeliest, strict=True
                )
            ]
    if body.top:
        found["next"] = _told(answer.next_tokens)
    return found


def _told(tokens: Iterable[LikelyToken]) -> list[dict[str, Any]]:
    return [{"token": each.token, "text": each.text, "logprob": each.logprob} for each in tokens]
