"""A text that is classified while its words arrive is classified as the text so far."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn.classification import live
from rnn.classification.live import LiveReading
from rnn.classification.network import ClassificationNetwork
from rnn.classification.predictor import Classifier
from rnn.classification.reading import TextReader, learn_reader
from rnn.config import ClassificationConfig, ClassificationData
from rnn.determinism import Randomness
from rnn.errors import InputMismatchError, LiveStateError
from rnn.live import MOST_PENDING
from rnn.tokenizers import BpeTokenizer, WordTokenizer

SAMPLE = "a warm film, and they've said it isn't half as long — as the 12th one "
NETWORK = "n" * 64


def make(reader: Any, truncation: str = "start", **architecture: Any) -> Classifier:
    config = ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {"hidden_size": 6, "embedding_size": 5, **architecture},
            "data": {"max_tokens": 12, "truncation": truncation},
        }
    )
    network = ClassificationNetwork(
        config, reader.vocabulary_size, 3, Randomness(0, torch.device("cpu"))
    )
    return Classifier(config, network, reader, ["x", "y", "z"])


WORDS = WordTokenizer.learn([SAMPLE], vocabulary_size=50, min_frequency=1)
BPE = BpeTokenizer.learn(lambda: [SAMPLE * 9], vocabulary_size=300)
CHARACTERS = learn_reader([SAMPLE], ClassificationData(tokenizer="character", min_frequency=1))
MODELS = {
    "start": make(WORDS),
    "end": make(WORDS, "end", bidirectional=False, pooling="last"),
    "both": make(WORDS, "both"),
    "bytes": make(TextReader("byte", None), "both"),
    "characters": make(CHARACTERS, "both"),
    "bpe": make(TextReader("bpe", BPE), "end", cell="mingru"),
}
pieces = st.lists(
    st.text(st.sampled_from("a'vels \n,é雪") | st.characters(codec="utf-8"), max_size=9)
    | st.sampled_from(SAMPLE.split(" ")),
    max_size=30,
)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=60, deadline=None)
@given(pieces=pieces)
def test_a_text_in_pieces_is_classified_as_the_whole(name: str, pieces: list[str]) -> None:
    """To the last bit, cut and flagged as a long text is."""
    model, text = MODELS[name], LiveReading()
    for piece in pieces:
        text = live.read(model, text, piece)
        text = live.from_bytes(model, live.to_bytes(text, NETWORK), NETWORK)
    expected = model.classify(["".join(pieces)])
    found = live.classify(model, text)
    np.testing.assert_array_equal(found.probabilities_bc, expected.probabilities_bc)
    assert found.truncated == expected.truncated
    assert found.known_share == expected.known_share
    assert live.count(model, text) == len(model.reader.tokens("".join(pieces)))


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(pieces=pieces)
def test_its_hidden_state_is_that_of_one_pass(name: str, pieces: list[str]) -> None:
    """Forwards, over the tokens that are read; before the first token it is zero."""
    model, text = MODELS[name], LiveReading()
    for piece in pieces:
        text = live.read(model, text, piece)
    found, whole = live.hidden(model, text).hidden_lbh, "".join(pieces)
    if not model.reader.tokens(whole):
        assert not found.any()
        return
    (encoded,) = model.encode([whole])
    assert torch.equal(found, model.hidden(encoded).hidden_lbh)
    with torch.inference_mode():
        x_1td = model._network.vectors(torch.tensor([encoded.tokens]))
        _, expected = model._network.stack(x_1td)
    torch.testing.assert_close(found, expected.hidden_lbh, rtol=1e-4, atol=1e-5)


def test_a_state_is_bounded_by_what_the_network_reads() -> None:
    model = MODELS["both"]
    long = live.read(model, LiveReading(), SAMPLE * 10)
    longer = live.read(model, long, SAMPLE * 1_000)
    assert len(longer.kept) == len(long.kept) == 12
    assert longer.tokens > 10_000


def test_a_word_without_an_end_is_refused() -> None:
    model = MODELS["start"]
    text = live.read(model, LiveReading(), "a" * MOST_PENDING)
    with pytest.raises(InputMismatchError, match="within a word"):
        live.read(model, text, "a")


def test_a_state_that_does_not_fit_is_refused() -> None:
    for wrong in (LiveReading((1, 2), 3), LiveReading((1, 2), -2)):
        with pytest.raises(LiveStateError):
            live.from_bytes(MODELS["start"], live.to_bytes(wrong, NETWORK), NETWORK)
