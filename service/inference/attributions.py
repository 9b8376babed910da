"""What the tokens of texts add to their labels: it takes many times what the labels do."""

from collections.abc import Generator

from rnn.classification.predictor import Classifier
from service.errors import Fault, ValidationError
from service.inference.messages import Attribute
from service.inference.requests import Attributions, TokenAttributions
from service.inference.turns import ROWS_PER_TURN


def attribute_in_turns(
    model: Classifier, request: Attribute
) -> Generator[None, None, Attributions]:
    """Raises ValidationError where the texts have too many tokens."""
    encoded, tokens = [], 0
    for number, text in enumerate(request.texts):
        if number and number % ROWS_PER_TURN == 0:
            yield
        encoded += model.encode([text])
        tokens += len(encoded[-1].tokens)
        if tokens > request.max_tokens:
            message = (
                f"more than {request.max_tokens} tokens are read of the texts, the limit for "
                "attributions"
            )
            fault = Fault(("body", "attributions"), message)
            raise ValidationError(f"The request is too large: {message}.", faults=[fault])
    found = []
    for text, read, label in zip(request.texts, encoded, request.labels, strict=True):
        yield
        its = yield from model.attribute(read, model.labels.index(label))
        spans = model.spans(text)
        found.append(TokenAttributions(label, its.score, its.baseline, its.gap, spans, its.added_t))
    return Attributions(found)
