"""Sentiment, or any other label, of texts that come with the request."""

from typing import Annotated

from fastapi import APIRouter

from service.api.deps import ServicesDep
from service.api.routing import protected_router, requires
from service.api.schemas.models import AnsweringModel
from service.api.schemas.sentiment import (
    LabelScore,
    SentimentAnswer,
    SentimentRequest,
    TextSentiment,
)
from service.api.served import served_version
from service.auth.subjects import Scope, Subject
from service.errors import Fault, ValidationError
from service.inference.engine import Classifications
from service.settings import Settings

router: APIRouter = protected_router("/sentiment", tags=["predictions"])
LOW_KNOWN_SHARE = 0.5  # with fewer known words a label is a guess


@router.post("", response_model_exclude_none=True)
async def classify(
    body: SentimentRequest,
    subject: Annotated[Subject, requires(Scope.PREDICT)],
    services: ServicesDep,
) -> SentimentAnswer:
    """The most probable label of each text, or every label's score."""
    texts = body.all_texts()
    _check_size(body, texts, services.settings)
    version = await served_version(services, subject, body.model, "text-classification")
    found = await services.engine.classify(version, texts)
    return SentimentAnswer(
        model=AnsweringModel(name=version.name, version=version.version),
        results=_results(found, all_scores=body.all_scores),
    )


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


def _results(found: Classifications, *, all_scores: bool) -> list[TextSentiment]:
    results = []
    for row, probabilities_c in enumerate(found.probabilities_bc.tolist()):
        ranked = sorted(zip(found.labels, probabilities_c, strict=True), key=lambda pair: -pair[1])
        label, score = ranked[0]
        scores = [LabelScore(label=name, score=value) for name, value in ranked]
        results.append(
            TextSentiment(
                label=label,
                score=score,
                scores=scores if all_scores else None,
                truncated=found.truncated[row],
                known_share=found.known_share[row],
                low_confidence=found.known_share[row] < LOW_KNOWN_SHARE,
            )
        )
    return results
