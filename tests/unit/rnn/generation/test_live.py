"""However a text is cut into steps, the network has read the whole of it."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn.config import GenerationArchitecture, GenerationConfig, GenerationData
from rnn.determinism import Randomness
from rnn.errors import InputMismatchError, LiveStateError
from rnn.generation import live
from rnn.generation.live import Continuation, LiveText
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.generation.sampling import SamplingSettings
from rnn.live import MOST_PENDING
from rnn.tokenizers import BpeTokenizer, SpacedWordTokenizer, TextTokenizer

SAMPLE = "we'll read the whole text,  and they've said\nit isn't as long — as the 12th one "
NETWORK = "n" * 64
HOT = SamplingSettings(temperature=2.0, top_k=40, repetition_penalty=1.3)


def make(name: str, tokenizer: TextTokenizer | None, cell: str = "lstm") -> Generator:
    config = GenerationConfig(
        task="text-generation",
        architecture=GenerationArchitecture(
            cell=cell,  # type: ignore[arg-type]
            num_layers=2,
            hidden_size=8,
            embedding_size=6,
        ),
        data=GenerationData(tokenizer=name),  # type: ignore[arg-type]
    )
    size = tokenizer.vocabulary_size if tokenizer else 256
    network = GenerationNetwork(config, Randomness(0, torch.device("cpu")), size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)  # far from uniform, so that a wrong state is seen
    return Generator(config, network, tokenizer)  # type: ignore[arg-type]


MODELS = {
    "byte": make("byte", None),
    "word": make("word", SpacedWordTokenizer.learn([SAMPLE], vocabulary_size=50)),
    "bpe": make("bpe", BpeTokenizer.learn(lambda: [SAMPLE * 9], vocabulary_size=300)),
    "in torch": make("byte", None, cell="slstm"),
    "mlstm": make("byte", None, cell="mlstm"),
}
pieces = st.lists(
    st.text(st.sampled_from("a'vels \n,é雪") | st.characters(codec="utf-8"), max_size=9)
    | st.sampled_from([SAMPLE, SAMPLE * 5]),
    max_size=6,
)


@pytest.fixture(scope="module", autouse=True)
def _turns_are_short() -> Iterator[None]:
    """So that short texts take several, whatever their tokens are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "TOKENS_PER_TURN", 50)
        yield


def kept(model: Generator, text: LiveText) -> LiveText:
    """As it is after it was stored."""
    return live.from_bytes(model, live.to_bytes(text, NETWORK), NETWORK)


def read(model: Generator, text: LiveText, piece: str) -> LiveText:
    turns = live.read(model, text, piece)
    try:
        while True:
            next(turns)
    except StopIteration as end:
        return kept(model, end.value)


def assert_same(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    """To the last bit, or as close as torch is. An mlstm has large sums that nearly cancel out: it
    is as close as its largest value."""
    if name == "mlstm":
        largest = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-4 * max(1.0, largest))
    elif name == "in torch":
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=60, deadline=None)
@given(pieces=pieces)
def test_a_text_in_pieces_is_read_as_the_whole(name: str, pieces: list[str]) -> None:
    model = MODELS[name]
    text = live.begin(model, seed=1)
    for piece in pieces:
        text = read(model, text, piece)
    tokens = model.encode("".join(pieces))
    expected, _ = model.prefill(tokens, model.initial_state(1))
    found, _, _ = live.next_scores(model, text)
    assert_same(name, found, expected)
    assert live.count(model, text) == len(model.tokenizer.encode("".join(pieces)))


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(pieces=pieces)
def test_its_hidden_state_is_that_of_one_pass(name: str, pieces: list[str]) -> None:
    model = MODELS[name]
    text = live.begin(model, seed=1)
    for piece in pieces:
        text = read(model, text, piece)
    tokens = model.tokenizer.encode("".join(pieces))
    expected = model.initial_state(1)
    if tokens:
        _, expected = model.prefill(tokens, expected)
    found = live.hidden(model, text)
    assert_same(name, found.hidden_lbh, expected.hidden_lbh)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(prompt=st.sampled_from(["", "the", SAMPLE]), cuts=st.lists(st.integers(1, 9), min_size=1))
def test_tokens_drawn_in_pieces_are_those_drawn_at_once(
    name: str, prompt: str, cuts: list[int]
) -> None:
    model = MODELS[name]
    begun = read(model, live.begin(model, seed=7), prompt)
    once = Continuation(model, begun, HOT, seed=None)
    expected = [once.draw()[0] for _ in range(sum(cuts))]
    text, found, said = begun, [], ""
    for cut in cuts:
        drawing, decoder = Continuation(model, text, HOT, seed=None), live.decoder(model, text)
        for _ in range(cut):
            found.append(drawing.draw()[0])
            said += decoder.push(found[-1])
        text = kept(model, drawing.text())
    assert found == expected
    whole = model.decoder(prompt)
    assert said == "".join(whole.push(token) for token in expected)
    assert live.count(model, text) == len(model.encode(prompt)) + len(expected)
    assert torch.equal(live.next_scores(model, text)[0], live.next_scores(model, once.text())[0])


def test_what_is_read_after_tokens_were_drawn_follows_them() -> None:
    model = MODELS["byte"]
    drawing = Continuation(model, live.begin(model, seed=0), SamplingSettings(), seed=3)
    drawn = [drawing.draw()[0] for _ in range(5)]
    text = read(model, kept(model, drawing.text()), " and")
    expected, _ = model.prefill([10, *drawn, *b" and"], model.initial_state(1))
    assert torch.equal(live.next_scores(model, text)[0], expected)


def test_a_seed_begins_the_random_numbers_anew() -> None:
    model = MODELS["byte"]
    begun = read(model, live.begin(model, seed=1), SAMPLE)
    first = [Continuation(model, begun, HOT, seed=5).draw() for _ in range(2)]
    assert first[0] == first[1]
    drawing = Continuation(model, begun, HOT, seed=5)
    drawn = [drawing.draw()[0] for _ in range(8)]
    again = Continuation(model, begun, replace(HOT), seed=5)
    assert [again.draw()[0] for _ in range(8)] == drawn


def test_a_state_has_one_size() -> None:
    """What is kept after a book is as long as after a line, but for a count's digits."""
    model = MODELS["byte"]
    text = read(model, live.begin(model, seed=1), SAMPLE)
    short = len(live.to_bytes(text, NETWORK))
    long = len(live.to_bytes(read(model, text, SAMPLE * 500), NETWORK))
    assert abs(long - short) < 16


def test_a_word_without_an_end_is_refused() -> None:
    model = MODELS["bpe"]
    text = read(model, live.begin(model, seed=1), "a" * MOST_PENDING)
    with pytest.raises(InputMismatchError, match="within a word"):
        read(model, text, "a")
    assert live.count(model, read(model, text, " b")) > 1


@pytest.mark.parametrize(
    "change",
    [
        lambda text: replace(text, numbers=-1),
        lambda text: replace(text, unread=(256,)),
        lambda text: replace(text, unread=()),
        lambda text: replace(text, drawn=(-1,)),
        lambda text: replace(text, tokens=-1),
        lambda text: replace(text, seen_v=np.zeros(300, np.bool_)),
        lambda text: replace(text, state=text.state.select([0, 0])),
        lambda text: replace(text, state=MODELS["in torch"].initial_state(1)),
    ],
)
def test_a_state_that_does_not_fit_the_network_is_refused(
    change: Callable[[LiveText], LiveText],
) -> None:
    model = MODELS["byte"]
    text = read(model, live.begin(model, seed=1), SAMPLE)
    with pytest.raises(LiveStateError):
        kept(model, change(text))
