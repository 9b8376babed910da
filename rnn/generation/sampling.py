"""Choosing the next token: per-row settings, each row independent of its neighbours.

All rows of a batch are drawn together, in numpy: beside a step of the kernels, which is short, its
calls cost a fraction of torch's. A row draws the same tokens in any company, bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rnn.errors import ConfigError
from rnn.generation.drawing import (
    ALL,
    Filters,
    Scores,
    advance,
    below_best,
    draw,
    first_counters,
    likeliest,
    log_softmax,
    uniform,
)
from rnn.generation.penalties import Penalties

# Scores divided by less leave the best token alone, except where two are equal to the last digits.
LOWEST_TEMPERATURE = 1e-4

_SCORES_AT_ONCE = 2**17  # what a processor keeps near; of larger tables the memory is the most work


@dataclass(frozen=True)
class SamplingSettings:
    """How one row's tokens are chosen.

    Attributes:
        temperature: divides the scores; below LOWEST_TEMPERATURE the best token is taken always.
        top_k: only so many of the best tokens, with those that equal the last of them; None: all.
        top_p: only the best tokens that together reach this probability (Holtzman et al. 2020),
            with those that equal the last of them.
        min_p: only tokens at least this share as probable as the best one.
        repetition_penalty: above 1, makes tokens of prompt and text less probable: it multiplies
            their log-probabilities (after Keskar et al. 2019).
        presence_penalty: taken from the log-probability of each token of the text.
        frequency_penalty: taken from it for each time that the token is in the text.
        seed: with the number of tokens drawn before, decides what is drawn.
        logprobs: how many of the likeliest tokens are told with each one; None: nothing is told.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise ConfigError(f"temperature must lie between 0 and 100, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k must be at least 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie above 0 and at most at 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p must lie between 0 and 1, not {self.min_p}")
        if not 0 < self.repetition_penalty <= 100:
            raise ConfigError(
                f"repetition_penalty must lie above 0 and at most at 100, "
                f"not {self.repetition_penalty}"
            )
        for name in ("presence_penalty", "frequency_penalty"):
            amount = getattr(self, name)
            if not -100 <= amount <= 100:
                raise ConfigError(f"{name} must lie between -100 and 100, not {amount}")
        if self.logprobs is not None and self.logprobs < 0:
            raise ConfigError(f"logprobs must be at least 0, not {self.logprobs}")

    @property
    def greedy(self) -> bool:
        return self.temperature < LOWEST_TEMPERATURE

    @property
    def penalised(self) -> bool:
        return self.repetition_penalty != 1 or bool(self.presence_penalty or self.frequency_penalty)


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probabilities under the network before any setting.

    Attributes:
        chosen: of the token that was drawn.
        likeliest: the best tokens with theirs, best first, of equal ones the lower token.
    """

    chosen: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Draws:
    """One token for each row.

    Attributes:
        finite_b: whether a row's scores are numbers; where they are not, its token means nothing.
        logprobs: by row, of those that ask for them.
    """

    tokens_b: NDArray[np.int64]
    finite_b: NDArray[np.bool_]
    logprobs: Mapping[int, TokenLogprobs]


_ROW = np.dtype(
    [
        ("temperature", np.float32),  # 0: the best token is taken
        ("top_k", np.int64),
        ("top_p", np.float64),
        ("min_p", np.float64),
        ("penalised", np.bool_),
        ("logprobs", np.int64),  # -1: none
        ("counter", np.uint64),  # where the row's random numbers are
    ]
)


class Sampler:
    """Draws the next token of each row of a batch; rows join and leave as those of a HiddenState.

    `make_sampler` makes one.
    """

    def __init__(self, rows: NDArray[np.void], penalties: Penalties) -> None:
        self._rows = rows
        self._penalties = penalties
        self._penalised_before = np.append(0, np.cumsum(rows["penalised"]))

    @cached_property
    def _parts(self) -> list[tuple[slice, "_Part"]]:
        """Made when it is drawn from: rows often leave and join before."""
        size = max(1, _SCORES_AT_ONCE // self._penalties.vocabulary_size)
        ends = [*range(size, len(self._rows), size), len(self._rows)]
        return [(slice(start, end), self._part(start, end)) for start, end in pairwise([0, *ends])]

    @staticmethod
    def cat(samplers: Sequence["Sampler"]) -> "Sampler":
        """One sampler with the rows of all, in order."""
        return Sampler(
            np.concatenate([sampler._rows for sampler in samplers]),
            Penalties.cat([sampler._penalties for sampler in samplers]),
        )

    def select(self, rows: Sequence[int]) -> "Sampler":
        """A copy of the given rows as they are now, in the given order."""
        index = np.array(rows, np.intp)
        penalised = index[self._rows["penalised"][index]]
        return Sampler(self._rows[index], self._penalties.select(self._penalised_before[penalised]))

    def draw(self, logits_bv: Tensor) -> Draws:
        """The next token of every row, from the network's scores [B, V]."""
        scores_bv = np.ascontiguousarray(logits_bv.float().cpu().numpy())
        # Overflows are those of rows that are not finite.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            draws = [(rows.start, part.draw(scores_bv[rows])) for rows, part in self._parts]
        if len(draws) == 1:
            return draws[0][1]
        return Draws(
            np.concatenate([part.tokens_b for _, part in draws]),
            np.concatenate([part.finite_b for _, part in draws]),
            {start + row: told for start, part in draws for row, told in part.logprobs.items()},
        )

    def _part(self, start: int, end: int) -> "_Part":
        begin_p, end_p = self._penalised_before[[start, end]]
        return _Part(self._rows[start:end], self._penalties.select(slice(begin_p, end_p)))


class _Part:
    """Neighbouring rows of a sampler that are drawn at once. Their places in it are views: what is
    drawn is counted in both."""

    def __init__(self, rows: NDArray[np.void], penalties: Penalties) -> None:
        self._counter_b = rows["counter"]
        self._logprobs_b = rows["logprobs"]
        self._penalties = penalties
        self._penalised = np.flatnonzero(rows["penalised"])
        self._telling = np.flatnonzero(rows["logprobs"] >= 0).tolist()
        self._greedy = _index(rows["temperature"] == 0)
        self._drawn = _index(rows["temperature"] > 0)
        chosen = rows[self._drawn]
        self._temperature_s1 = chosen["temperature"][:, None].copy()
        self._filters = Filters(chosen["top_k"], chosen["top_p"], chosen["min_p"])

    def draw(self, raw_bv: Scores) -> Draws:
        finite_b = np.isfinite(np.add.reduce(raw_bv, axis=1))
        scores_bv = self._penalise(raw_bv)
        tokens_b = np.empty(len(raw_bv), np.int64)
        tokens_b[self._greedy] = scores_bv[self._greedy].argmax(axis=1)
        if len(self._temperature_s1):
            below_sv = below_best(scores_bv[self._drawn])
            below_sv /= self._temperature_s1
            numbers_s = uniform(self._counter_b[self._drawn])
            tokens_b[self._drawn] = draw(below_sv, self._filters, numbers_s)
        advance(self._counter_b)
        if len(self._penalised):
            self._penalties.take(tokens_b[self._penalised])
        return Draws(tokens_b, finite_b, self._tell(raw_bv, tokens_b))

    def _penalise(self, raw_bv: Scores) -> Scores:
        if not len(self._penalised):
            return raw_bv
        logprobs_pv = log_softmax(raw_bv[self._penalised])
        self._penalties.apply(logprobs_pv)
        scores_bv = raw_bv.copy()
        scores_bv[self._penalised] = logprobs_pv
        return scores_bv

    def _tell(self, raw_bv: Scores, tokens_b: NDArray[np.int64]) -> Mapping[int, TokenLogprobs]:
        if not self._telling:
            return {}
        told = {}
        for row, logprobs_v in zip(self._telling, log_softmax(raw_bv[self._telling]), strict=True):
            best = likeliest(logprobs_v, int(self._logprobs_b[row]))
            told[row] = TokenLogprobs(float(logprobs_v[tokens_b[row]]), best)
        return told


def _index(chosen_b: NDArray[np.bool_]) -> NDArray[np.intp] | slice:
    """Of all rows, as they mostly are: a view is cheaper than a copy."""
    return slice(None) if chosen_b.all() else np.flatnonzero(chosen_b)


def make_sampler(
    settings: Sequence[SamplingSettings],
    prompts: Sequence[Sequence[int]],
    vocabulary_size: int,
    *,
    drawn: Sequence[Sequence[int]] | None = None,
    numbers: Sequence[int] | None = None,
) -> Sampler:
    """A sampler of texts with these settings, each after its prompt.

    Args:
        drawn: the tokens that each text has already: the sampler goes on as the one that drew them
            would. None: they have none.
        numbers: how many random numbers of its seed each text has used; None: one for each token.
    """
    texts = [()] * len(settings) if drawn is None else drawn
    rows = np.array(
        [
            (
                0 if chosen.greedy else chosen.temperature,
                chosen.top_k or ALL,
                chosen.top_p,
                chosen.min_p,
                chosen.penalised,
                -1 if chosen.logprobs is None else chosen.logprobs,
                0,
            )
            for chosen in settings
        ],
        _ROW,
    )
    penalised = [row for row, chosen in enumerate(settings) if chosen.penalised]
    rows["counter"] = first_counters(
        [chosen.seed for chosen in settings], numbers or [len(text) for text in texts]
    )
    penalties = Penalties.start(
        [
            (chosen.repetition_penalty, chosen.presence_penalty, chosen.frequency_penalty)
            for chosen in settings
            if chosen.penalised
        ],
        [prompts[row] for row in penalised],
        [texts[row] for row in penalised],
        vocabulary_size,
    )
    return Sampler(rows, penalties)
