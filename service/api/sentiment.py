"""Sentiment, or any other label, of texts that come with the request."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.deps import ServicesDep
from service.api.direct import direct
from service.api.routing import protected_router, requires
from service.api.schemas.sentiment import SentimentAnswer, SentimentRequest
from service.api.served import served_version
from service.auth.subjects import Scope, Subject
from service.errors import Fault, ValidationError
from service.inference.requests import Classifications, ServedVersion, TokenAttributions
from service.settings import Settings

router: APIRouter = protected_router("/sentiment", tags=["predictions"])
LOW_KNOWN_SHARE = 0.5  # with fewer known words a label is a guess
THREADED_SCORES = 2_000  # converting more would hold up the event loop for milliseconds


@router.post("", response_model=SentimentAnswer)
@direct
async def classify(
    body: SentimentRequest,
    subject: Annotated[Subject, requires(Scope.PREDICT)],
    services: ServicesDep,
) -> Response:
    """The most probable label of each text, or every label's score."""
    texts = body.all_texts()
    _check_size(body, texts, services.settings)
    version = await served_version(services, subject, body.model, "text-classification")
    max_scores = services.settings.max_sentiment_scores if body.all_scores else None
    found = await services.engine.classify(version, texts, max_scores=max_scores)
    attributed: list[tuple[str, TokenAttributions]] = []
    if body.attributions:
        labels = _labels(body, found)
        limit = services.settings.max_attribution_tokens
        added = await services.engine.attribute(version, texts, labels, max_tokens=limit)
        attributed = list(zip(texts, added.texts, strict=True))
    write = partial(_answer, version, found, all_scores=body.all_scores, attributed=attributed)
    long = found.probabilities_bc.size > THREADED_SCORES or attributed
    content = await run_in_threadpool(write) if long else write()
    services.usage.count(subject, "texts", len(texts))
    return Response(content, media_type="application/json")


def _labels(body: SentimentRequest, found: Classifications) -> list[str]:
    """That attributions are asked for, of each text."""
    wanted = body.attribution_label
    if wanted is None:
        return [found.labels[best] for best in found.probabilities_bc.argmax(axis=1).tolist()]
    if wanted not in found.labels:
        message = f"is not a label of the model, which knows {', '.join(found.labels[:100])}"
        fault = Fault(("body", "attribution_label"), message)
        raise ValidationError("The model does not know the label.", faults=[fault])
    return [wanted] * len(found.truncated)


def _check_size(body: SentimentRequest, texts: list[str], settings: Settings) -> None:
    """Each field and their product."""
    if len(texts) > settings.max_texts:
        raise _too_large(f"{len(texts)} texts, the limit is {settings.max_texts}", "texts")
    lengths = list(map(len, texts))
    longest = max(lengths)
    if longest > settings.max_text_chars:
        message = f"{longest} characters in one text, the limit is {settings.max_text_chars}"
        place = ("text",) if body.texts is None else ("texts", lengths.index(longest))
        raise _too_large(message, *place)
    if sum(lengths) > settings.max_request_chars:
        message = f"{sum(lengths)} characters in all, the limit is {settings.max_request_chars}"
        raise _too_large(message, "texts")


def _too_large(message: str, *place: str | int) -> ValidationError:
    fault = Fault(("body", *place), message)
    return ValidationError(f"The request is too large: {message}.", faults=[fault])


def _answer(
    version: ServedVersion,
    found: Classifications,
    *,
    all_scores: bool,
    attributed: Sequence[tuple[str, TokenAttributions]] = (),
) -> bytes:
    """The JSON of a SentimentAnswer, straight from the arrays: a model would check each number.

    `attributed`: each text with what its tokens add, where that was asked for.
    """
    best_b = found.probabilities_bc.argmax(axis=1)
    results: list[dict[str, Any]] = [
        {
            "label": found.labels[best],
            "score": score,
            "truncated": truncated,
            "known_share": known_share,
            "low_confidence": known_share < LOW_KNOWN_SHARE,
        }
        for best, score, truncated, known_share in zip(
            best_b.tolist(),
            found.probabilities_bc.max(axis=1).tolist(),
            found.truncated,
            found.known_share,
            strict=True,
        )
    ]
    if all_scores:
        order_bc = np.argsort(-found.probabilities_bc, axis=1, kind="stable")
        ranked_bc = np.take_along_axis(found.probabilities_bc, order_bc, axis=1)
        for result, order_c, ranked_c in zip(
            results, order_bc.tolist(), ranked_bc.tolist(), strict=True
        ):
            result["scores"] = [
                {"label": found.labels[place], "score": score}
                for place, score in zip(order_c, ranked_c, strict=True)
            ]
    for result, (text, added) in zip(results, attributed, strict=False):
        result["attributions"] = {
            "label": added.label,
            "log_odds": added.log_odds,
            "baseline": added.baseline,
            "gap": added.gap,
            "tokens": [
                {"start": start, "end": end, "text": text[start:end], "attribution": attribution}
                for (start, end), attribution in zip(
                    added.spans, added.added_t.tolist(), strict=True
                )
            ],
        }
    model = {"name": version.name, "version": version.version}
    return to_json({"model": model, "results": results})
