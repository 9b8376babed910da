"""A text that is classified while its words arrive.

A classifier reads `max_tokens` at most, chosen by its truncation, so these tokens are all that is
kept of a text, with its length and its end, whose tokens may change with what follows. It is read
anew for each answer, whose cost is bounded by them: a network that reads backwards has to, and the
answer is that of the whole text to the last bit.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from rnn.classification.predictor import ClassificationResult, Classifier
from rnn.live import Kept, bounded, pack, unpack
from rnn.state import HiddenState
from rnn.tokenizers import EncodedText
from rnn.tokenizers.encoded import encoded_text

TASK: Final = "text-classification"


@dataclass(frozen=True)
class LiveReading:
    """A text so far.

    Attributes:
        kept: the tokens that are read of what is settled.
        tokens: how many are settled.
        pending: the end of the text, which is not settled.
    """

    kept: tuple[int, ...] = ()
    tokens: int = 0
    pending: str = ""


def read(model: Classifier, live: LiveReading, text: str) -> LiveReading:
    """The text with what follows.

    Raises:
        InputMismatchError: it ends within a word that is too long (`rnn.live.bounded`).
    """
    whole = live.pending + text
    settled = model.reader.settled(whole)
    tokens = model.reader.tokens(whole[:settled])
    kept = _encoded(model, [*live.kept, *tokens]).tokens if tokens else live.kept
    return LiveReading(tuple(kept), live.tokens + len(tokens), bounded(whole[settled:]))


def count(model: Classifier, live: LiveReading) -> int:
    """Tokens of the text so far."""
    return live.tokens + len(model.reader.tokens(live.pending))


def classify(model: Classifier, live: LiveReading) -> ClassificationResult:
    """Of the text so far, as if it were whole: a batch of one."""
    end = model.reader.tokens(live.pending)
    encoded = _encoded(model, [*live.kept, *end] or [*model.reader.nothing])
    truncated = live.tokens + len(end) > model.config.data.max_tokens
    return model.classify_encoded([replace(encoded, truncated=truncated)])


def hidden(model: Classifier, live: LiveReading) -> HiddenState:
    """The forward direction's state after the last token that is read of the text so far, as if it
    were whole; before the first token zeros."""
    tokens = [*live.kept, *model.reader.tokens(live.pending)]
    return model.hidden(_encoded(model, tokens)) if tokens else model.initial_state()


def to_bytes(live: LiveReading, network: str) -> bytes:
    """The text as it is kept between two steps."""
    kept = Kept(
        {"tokens": live.tokens, "pending": live.pending},
        {"kept": np.array(live.kept, dtype=np.int64)},
    )
    return pack(TASK, network, kept)


def from_bytes(model: Classifier, data: bytes, network: str) -> LiveReading:
    """Raises LiveStateError for bytes that are not those of a text of this network."""
    kept = unpack(data, TASK, network)
    tokens = kept.count("tokens")
    read = kept.array("kept", np.int64, min(tokens, model.config.data.max_tokens))
    return LiveReading(tuple(read.tolist()), tokens, kept.text("pending"))


def _encoded(model: Classifier, tokens: list[int]) -> EncodedText:
    data = model.config.data
    return encoded_text(
        tokens,
        max_tokens=data.max_tokens,
        truncation=data.truncation,
        unknown=model.reader.unknown_token,
    )
