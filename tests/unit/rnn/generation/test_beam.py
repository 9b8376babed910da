"""Beam search against a search of all texts, and against the same search written plainly."""

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnn.generation.beam import BeamSettings, FoundText, beam_search
from rnn.state import HiddenState


@dataclass
class Tree:
    """A network whose scores are any numbers, others after each text; its state is the text's
    number."""

    seed: int
    vocabulary: int
    steps: list[int] = field(default_factory=list)  # rows of each

    def logits(self, text: tuple[int, ...]) -> np.ndarray:
        random = np.random.default_rng([self.seed, self._number(text)])
        return random.normal(0, 2, self.vocabulary).astype(np.float32)

    def step(self, tokens_b: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        self.steps.append(len(tokens_b))
        texts = [
            (*self._text(int(number)), int(token))
            for number, token in zip(state.hidden_lbh[0, :, 0], tokens_b, strict=True)
        ]
        logits_bv = np.stack([self.logits(text) for text in texts])
        return torch.from_numpy(logits_bv), self.state(*texts)

    def state(self, *texts: tuple[int, ...]) -> HiddenState:
        numbers = [[float(self._number(text))] for text in texts]
        return HiddenState(torch.tensor([numbers], dtype=torch.float64))

    def logprobs(self, text: tuple[int, ...]) -> list[float]:
        """Of each token of a text."""
        found = []
        for end, token in enumerate(text):
            logits_v = self.logits(text[:end]).astype(np.float64)
            found.append(float(logits_v[token] - np.log(np.exp(logits_v).sum())))
        return found

    def _number(self, text: tuple[int, ...]) -> int:
        number = 0
        for token in text:
            number = number * (self.vocabulary + 1) + token + 1
        return number

    def _text(self, number: int) -> tuple[int, ...]:
        text: tuple[int, ...] = ()
        while number:
            number, token = divmod(number, self.vocabulary + 1)
            text = (token - 1, *text)
        return text


@dataclass(frozen=True)
class UntilEnding:
    """Ends at any of some endings."""

    endings: tuple[tuple[int, ...], ...]
    text: tuple[int, ...] = ()

    @property
    def ended(self) -> bool:
        return any(self.text[-len(ending) :] == ending for ending in self.endings)

    def then(self, token: int) -> "UntilEnding":
        return UntilEnding(self.endings, (*self.text, token))


def search(tree: Tree, course: UntilEnding, chosen: BeamSettings) -> list[FoundText]:
    turns = beam_search(tree, torch.from_numpy(tree.logits(())), tree.state(()), course, chosen)
    while True:
        try:
            next(turns)
        except StopIteration as end:
            found: list[FoundText] = end.value
            return found


def plainly(tree: Tree, course: UntilEnding, chosen: BeamSettings) -> list[tuple[int, ...]]:
    """Without an early end."""
    live, ended = [((), 0.0)], []
    while live:
        longer = [
            ((*text, token), sum(tree.logprobs((*text, token))))
            for text, _ in live
            for token in range(tree.vocabulary)
        ]
        longer = sorted(longer, key=lambda one: -one[1])[: 2 * chosen.beams]
        is_whole = [
            len(text) == chosen.max_new_tokens or UntilEnding(course.endings, text).ended
            for text, _ in longer
        ]
        ended += [
            (text, total / len(text) ** chosen.length_penalty)
            for (text, total), whole in zip(longer, is_whole, strict=True)
            if whole
        ]
        live = [one for one, whole in zip(longer, is_whole, strict=True) if not whole]
        live = live[: chosen.beams]
    return [text for text, _ in sorted(ended, key=lambda one: -one[1])[: chosen.beams]]


ENDINGS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=2).map(tuple), max_size=2)
PENALTIES = st.sampled_from([0.0, 0.6, 1.0, 2.0])


@given(st.integers(0, 2**31), ENDINGS, PENALTIES, st.integers(1, 3))
@settings(deadline=None)
def test_enough_beams_find_the_best_of_all_texts(
    seed: int, endings: list[tuple[int, ...]], length_penalty: float, longest: int
) -> None:
    tree, course = Tree(seed, 3), UntilEnding(tuple(endings))
    texts = {
        next(
            text[:end]
            for end in range(1, longest + 1)
            if end == longest or UntilEnding(course.endings, text[:end]).ended
        )
        for text in product(range(3), repeat=longest)
    }
    scores = {text: sum(tree.logprobs(text)) / len(text) ** length_penalty for text in texts}
    best = sorted(texts, key=lambda text: -scores[text])[:16]
    found = search(tree, course, BeamSettings(16, longest, length_penalty))
    assert [tuple(one.tokens) for one in found] == best
    assert [one.score for one in found] == pytest.approx([scores[text] for text in best], rel=1e-4)


@given(st.integers(0, 2**31), ENDINGS, PENALTIES, st.integers(1, 5), st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_it_equals_the_search_written_plainly(
    seed: int, endings: list[tuple[int, ...]], length_penalty: float, beams: int, longest: int
) -> None:
    tree, course = Tree(seed, 5), UntilEnding(tuple(endings))
    chosen = BeamSettings(beams, longest, length_penalty)
    found = search(tree, course, chosen)
    assert [tuple(one.tokens) for one in found] == plainly(tree, course, chosen)
    assert max(tree.steps, default=0) <= beams


def test_what_is_told_of_each_token() -> None:
    tree = Tree(1, 5)
    best = search(tree, UntilEnding(()), BeamSettings(3, 6, likeliest=2))[0]
    text = tuple(best.tokens)
    assert [told.chosen for told in best.logprobs] == pytest.approx(tree.logprobs(text), rel=1e-4)
    for end, told in enumerate(best.logprobs):
        order = np.argsort(-tree.logits(text[:end]))
        assert [token for token, _ in told.likeliest] == order[:2].tolist()


def test_it_ends_as_soon_as_nothing_better_can_come() -> None:
    """Texts that end at once are sure, and all others are hopeless."""
    tree = Tree(1, 4)
    certain = np.array([9.0, 8.5, -9.0, -9.0], np.float32)
    turns = beam_search(
        tree,
        torch.from_numpy(certain),
        tree.state(()),
        UntilEnding(((0,), (1,))),
        BeamSettings(2, 1_000, length_penalty=0.1),
    )
    with pytest.raises(StopIteration) as end:
        next(turns)
    assert [one.tokens for one in end.value.value] == [[0], [1]]


def test_scores_that_are_no_numbers_are_an_error() -> None:
    tree = Tree(1, 4)
    logits_v = torch.tensor([1.0, torch.nan, 0.0, 0.0])
    turns = beam_search(tree, logits_v, tree.state(()), UntilEnding(()), BeamSettings(2, 5))
    with pytest.raises(ArithmeticError):
        next(turns)
