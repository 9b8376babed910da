"""The likeliest texts after a prompt, found by beam search."""

from collections.abc import Generator as Turns
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rnn.generation.drawing import likeliest, log_softmax
from rnn.generation.sampling import TokenLogprobs
from rnn.state import HiddenState


class Network(Protocol):
    """What a search needs of a `Generator`."""

    def step(self, tokens_b: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]: ...


class Course(Protocol):
    """A text so far, seen by what decides where it ends. A value: it is never changed."""

    @property
    def ended(self) -> bool: ...

    def then(self, token: int) -> "Course":
        """The text with one more token."""
        ...


@dataclass(frozen=True)
class BeamSettings:
    """How far a search looks.

    Attributes:
        beams: texts that are gone on with at each step.
        max_new_tokens: where every text ends.
        length_penalty: a text's score is the sum of its log-probabilities divided by its number of
            tokens to this power. 0: the sum alone; the more, the less long texts suffer.
        likeliest: tokens that are told beside each one of a text.
    """

    beams: int
    max_new_tokens: int
    length_penalty: float = 1.0
    likeliest: int = 0


@dataclass(frozen=True)
class FoundText:
    """A whole text, its score and what is told of each of its tokens."""

    tokens: list[int]
    logprobs: list[TokenLogprobs]
    score: float


@dataclass(frozen=True, eq=False)
class _Node:
    """A text as its last token and the text before it: texts share their beginnings."""

    course: Course
    total: float
    length: int = 0
    token: int = -1
    told: TokenLogprobs | None = None
    before: "_Node | None" = None

    def found(self, score: float) -> FoundText:
        tokens, logprobs, node = [], [], self
        while node.before is not None and node.told is not None:
            tokens.append(node.token)
            logprobs.append(node.told)
            node = node.before
        return FoundText(tokens[::-1], logprobs[::-1], score)


def beam_search(
    network: Network, logits_v: Tensor, state: HiddenState, course: Course, settings: BeamSettings
) -> Turns[None, None, list[FoundText]]:
    """At most `beams` texts, best first; yields before each step of the network.

    At each step the best `2 * beams` continuations are looked at: those that end compete by their
    scores, and the best `beams` of the others are gone on with. It ends when no text can become
    better than those found. Equal scores: the text that was found first, with the lower token.

    Args:
        logits_v: the network's scores after the prompt.
        state: of one row, with the prompt read.
        course: of the empty text.

    Raises:
        ArithmeticError: scores that are not finite.
    """
    logits_bv = logits_v[None]
    live, ended = [_Node(course, 0.0)], list[tuple[float, _Node]]()
    longest = settings.max_new_tokens**settings.length_penalty
    while True:
        rows: list[int] = []
        nodes: list[_Node] = []
        for row, node in _continuations(live, logits_bv, settings):
            if node.course.ended or node.length == settings.max_new_tokens:
                ended.append((node.total / node.length**settings.length_penalty, node))
            elif len(nodes) < settings.beams:
                rows.append(row)
                nodes.append(node)
        ended = sorted(ended, key=lambda found: -found[0])[: settings.beams]
        hopeless = (
            len(ended) == settings.beams
            and bool(nodes)
            and (nodes[0].total / longest <= ended[-1][0])
        )
        if hopeless or not nodes:
            return [node.found(score) for score, node in ended]
        yield
        tokens_b = torch.tensor([node.token for node in nodes])
        logits_bv, state = network.step(tokens_b, state.select(rows))
        live = nodes


def _continuations(
    live: list[_Node], logits_bv: Tensor, settings: BeamSettings
) -> list[tuple[int, _Node]]:
    """The best texts with one more token, best first, each with the row that it goes on from."""
    logprobs_bv = log_softmax(np.ascontiguousarray(logits_bv.float().cpu().numpy()))
    if not np.isfinite(logprobs_bv).all():
        raise ArithmeticError("the network's output is not finite")
    total_bv = np.array([node.total for node in live])[:, None] + logprobs_bv
    found = []
    for place, total in likeliest(total_bv.ravel(), 2 * settings.beams):
        row, token = divmod(place, total_bv.shape[1])
        told = TokenLogprobs(
            float(logprobs_bv[row, token]), likeliest(logprobs_bv[row], settings.likeliest)
        )
        before = live[row]
        course = before.course.then(token)
        found.append((row, _Node(course, total, before.length + 1, token, told, before)))
    return found
