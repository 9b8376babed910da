"""A text that a language model reads and goes on with, in as many steps as its caller likes.

A recurrent network has read a text once its hidden state is there, so a step costs what is new, and
what is kept has the same size after a line as after a book. However a text is cut into steps, its
tokens are those of the whole: its end, whose tokens may change with what follows (half a word), is
kept as text and read again; the last token before it is kept unread, as scores come from reading.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.errors import LiveStateError
from rnn.generation.predictor import Generator as Model
from rnn.generation.sampling import SamplingSettings, TokenLogprobs, make_sampler
from rnn.live import Kept, bounded, pack, unpack
from rnn.state import HiddenState
from rnn.tokenizers import TextDecoder

TASK: Final = "text-generation"
TOKENS_PER_TURN = 512  # a long text is read in pieces, so that others are served in between

_UNFINISHED = 3  # bytes of a character that lacks its last one; a token has at least one


@dataclass(frozen=True)
class Ahead:
    """Scores [V] of the token that follows the settled ones, and the state with all of those
    read."""

    scores_v: Tensor
    state: HiddenState


@dataclass(frozen=True)
class LiveText:
    """A text so far, read or drawn.

    Attributes:
        state: of one row, after all settled tokens but the last.
        unread: that token; empty before the first.
        tokens: how many are settled.
        pending: the end of the text, which is not settled.
        seen_v: bool [V], the tokens that were read or drawn.
        before: the last character that was read.
        drawn: the last tokens drawn after that character, as many as may be half a character.
        seed: of the random numbers.
        numbers: how many of them were used.
        ahead: what reading `unread` gives, where that was computed; it is not kept in bytes.
    """

    state: HiddenState
    unread: tuple[int, ...]
    tokens: int
    pending: str
    seen_v: NDArray[np.bool_]
    before: str
    drawn: tuple[int, ...]
    seed: int
    numbers: int
    ahead: Ahead | None = None


def begin(model: Model, seed: int) -> LiveText:
    """A text of which nothing is there."""
    seen_v = np.zeros(model.vocabulary_size, dtype=np.bool_)
    return LiveText(model.initial_state(1), (), 0, "", seen_v, "", (), seed, 0)


def read(model: Model, live: LiveText, text: str) -> Generator[None, None, LiveText]:
    """Goes on with a text from outside, in turns.

    Raises:
        InputMismatchError: the text ends within a word that is too long (`rnn.live.bounded`).
    """
    if not text:
        return live
    whole = live.pending + text
    settled = model.tokenizer.settled(whole)
    pending = bounded(whole[settled:])
    after = yield from _settled(model, live, model.tokenizer.encode(whole[:settled]))
    return replace(after, pending=pending, before=text[-1], drawn=())


def count(model: Model, live: LiveText) -> int:
    """Tokens of the text so far."""
    return live.tokens + len(model.tokenizer.encode(live.pending))


def looked_ahead(model: Model, live: LiveText) -> LiveText:
    """The same text with its last settled token read, so that nobody reads it twice.

    Where a network's digits depend on how its input is cut (`Model.exact_in_pieces`) it is read
    together with what follows.
    """
    if live.ahead is not None or not live.unread or not model.exact_in_pieces:
        return live
    return replace(live, ahead=Ahead(*model.prefill(live.unread, live.state)))


def next_scores(model: Model, live: LiveText) -> tuple[Tensor, HiddenState, list[int]]:
    """Scores [V] of the token that comes next if the text so far is whole; the state with all of it
    read; and the tokens of its pending end. A text without tokens is a line break."""
    tokens = model.tokenizer.encode(live.pending)
    if not live.tokens and not tokens:
        tokens = model.encode("")
    if live.ahead is not None and not tokens:
        return live.ahead.scores_v, live.ahead.state, tokens
    unread, state = _where(live)
    return *model.prefill([*unread, *tokens], state), tokens


def hidden(model: Model, live: LiveText) -> HiddenState:
    """The state with all of the text so far read, as if it were whole; before the first token
    zeros."""
    return next_scores(model, live)[1] if count(model, live) else live.state


def decoder(model: Model, live: LiveText) -> TextDecoder:
    """Turns the tokens that come next into text, going on with half a character if there is one."""
    result = model.decoder(live.before)
    for token in live.drawn:
        result.push(token)
    return result


class Continuation:
    """Tokens drawn one after the other from where a text stands, which is whole with that."""

    def __init__(
        self, model: Model, live: LiveText, settings: SamplingSettings, seed: int | None
    ) -> None:
        """`seed` None: random numbers go on from those of the step before."""
        self._model = model
        self._begin = live if seed is None else replace(live, seed=seed, numbers=0)
        self._scores_v, self._state, self._end = next_scores(model, live)
        self._sampler = make_sampler(
            [replace(settings, seed=self._begin.seed, logprobs=settings.logprobs or 0)],
            [[*np.flatnonzero(live.seen_v).tolist(), *self._end]],
            len(live.seen_v),
            numbers=[self._begin.numbers],
        )
        self._tokens: list[int] = []

    def draw(self) -> tuple[int, TokenLogprobs]:
        """The next token, its log-probability and those of as many others as the settings ask for.

        Raises:
            ArithmeticError: the network's scores are not finite.
        """
        if self._tokens:
            last = torch.tensor(self._tokens[-1:])
            scores_bv, self._state = self._model.step(last, self._state)
            self._scores_v = scores_bv[0]
        draws = self._sampler.draw(self._scores_v[None])
        if not draws.finite_b[0]:
            raise ArithmeticError("the network's output is not finite")
        self._tokens.append(int(draws.tokens_b[0]))
        return self._tokens[-1], draws.logprobs[0]

    def text(self) -> LiveText:
        """The text with what was drawn."""
        if not self._tokens:
            return self._begin
        new = [*self._end, *self._tokens]
        return replace(
            self._begin,
            state=self._state,
            unread=(new[-1],),
            tokens=self._begin.tokens + len(new),
            pending="",
            seen_v=_with(self._begin.seen_v, new),
            drawn=(*self._begin.drawn, *self._tokens)[-_UNFINISHED:],
            numbers=self._begin.numbers + len(self._tokens),
            ahead=None,
        )


def to_bytes(live: LiveText, network: str) -> bytes:
    """The text as it is kept between two steps."""
    arrays = {
        "hidden_lbh": live.state.hidden_lbh.float().cpu().numpy(),
        "seen": np.packbits(live.seen_v),
    }
    if live.state.memory_lbm is not None:
        arrays["memory_lbm"] = live.state.memory_lbm.float().cpu().numpy()
    values = {
        "unread": list(live.unread),
        "tokens": live.tokens,
        "pending": live.pending,
        "before": live.before,
        "drawn": list(live.drawn),
        "seed": live.seed,
        "numbers": live.numbers,
    }
    return pack(TASK, network, Kept(values, arrays))


def from_bytes(model: Model, data: bytes, network: str) -> LiveText:
    """Raises LiveStateError for bytes that are not those of a text of this network."""
    kept = unpack(data, TASK, network)
    vocabulary = model.vocabulary_size
    start = model.initial_state(1)
    packed = kept.array("seen", np.uint8, -(-vocabulary // 8))
    live = LiveText(
        HiddenState(
            _like(kept, "hidden_lbh", start.hidden_lbh),
            None if start.memory_lbm is None else _like(kept, "memory_lbm", start.memory_lbm),
        ),
        tuple(kept.counts("unread", vocabulary)),
        kept.count("tokens"),
        kept.text("pending"),
        np.unpackbits(packed, count=vocabulary).astype(np.bool_),
        kept.text("before"),
        tuple(kept.counts("drawn", vocabulary)),
        kept.count("seed"),
        kept.count("numbers"),
    )
    if len(live.unread) != min(live.tokens, 1):
        raise LiveStateError("'unread' of the state is not its last token")
    return live


def _settled(model: Model, live: LiveText, tokens: list[int]) -> Generator[None, None, LiveText]:
    """The text with more tokens, of which all but the last are read."""
    if not tokens:
        return live
    unread, state = _where(live)
    *fed, last = [*unread, *tokens]
    for start in range(0, len(fed), TOKENS_PER_TURN):
        if start:
            yield
        _, state = model.prefill(fed[start : start + TOKENS_PER_TURN], state)
    return replace(
        live,
        state=state,
        unread=(last,),
        tokens=live.tokens + len(tokens),
        seen_v=_with(live.seen_v, tokens),
        ahead=None,
    )


def _where(live: LiveText) -> tuple[tuple[int, ...], HiddenState]:
    """Settled tokens to read, and the state to read them from."""
    return (live.unread, live.state) if live.ahead is None else ((), live.ahead.state)


def _with(seen_v: NDArray[np.bool_], tokens: list[int]) -> NDArray[np.bool_]:
    result = seen_v.copy()
    result[tokens] = True
    return result


def _like(kept: Kept, name: str, tensor: Tensor) -> Tensor:
    return torch.from_numpy(kept.array(name, np.float32, *tensor.shape)).to(tensor)
