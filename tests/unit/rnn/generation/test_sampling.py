"""Sampling: what each setting allows, and rows that do not depend on their neighbours."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnn.errors import ConfigError
from rnn.generation import sampling
from rnn.generation.drawing import first_counters, uniform
from rnn.generation.sampling import Draws, SamplingSettings, TokenLogprobs, make_sampler

LOGITS_V = torch.tensor([0.5, 0.3, 0.1, 0.06, 0.04]).log()


def draw(logits_bv: Tensor, chosen: list[SamplingSettings]) -> Draws:
    """What each row draws first, after no prompt."""
    return make_sampler(chosen, [[]] * len(chosen), logits_bv.shape[1]).draw(logits_bv)


def counts(chosen: SamplingSettings, draws: int = 4000, history: tuple[int, ...] = ()) -> Counter:
    rows = [replace(chosen, seed=seed) for seed in range(draws)]
    sampler = make_sampler(rows, [history] * draws, 5)
    return Counter(sampler.draw(LOGITS_V.expand(draws, -1)).tokens_b.tolist())


def shares(found: Counter) -> list[float]:
    return [found[token] / found.total() for token in range(5)]


def test_plain_sampling_follows_the_probabilities() -> None:
    assert shares(counts(SamplingSettings())) == pytest.approx(
        [0.5, 0.3, 0.1, 0.06, 0.04], abs=0.03
    )


def test_temperature_sharpens_and_flattens() -> None:
    assert shares(counts(SamplingSettings(temperature=0.5)))[0] > 0.65
    assert shares(counts(SamplingSettings(temperature=5.0)))[0] < 0.3


@pytest.mark.parametrize("temperature", [0, 5e-324, 1e-40, 1e-38, 1e-7, 1e-6, 1e-5, 1e-4])
def test_a_tiny_temperature_takes_the_best(temperature: float) -> None:
    """A temperature that a float32 holds as zero once divided zero by zero, and the last token of
    the vocabulary was drawn each time."""
    one_sure_v = torch.full((256,), -torch.inf)
    one_sure_v[7] = 0.0
    rows = [SamplingSettings(temperature=temperature, seed=seed) for seed in range(20)]
    for logits_v, best in ((LOGITS_V, 0), (LOGITS_V - 80, 0), (one_sure_v, 7)):
        assert draw(logits_v.expand(20, -1), rows).tokens_b.tolist() == [best] * 20


@pytest.mark.parametrize(
    ("chosen", "allowed"),
    [
        (SamplingSettings(top_k=1), {0}),
        (SamplingSettings(top_k=3), {0, 1, 2}),
        (SamplingSettings(top_k=99), {0, 1, 2, 3, 4}),
        (SamplingSettings(top_p=0.01), {0}),
        (SamplingSettings(top_p=0.79), {0, 1}),
        (SamplingSettings(top_p=0.85), {0, 1, 2}),
        (SamplingSettings(min_p=0.15), {0, 1, 2}),
        (SamplingSettings(min_p=1.0), {0}),
        (SamplingSettings(top_k=4, top_p=0.85, min_p=0.15), {0, 1, 2}),
    ],
)
def test_only_allowed_tokens_are_drawn_and_all_of_them(
    chosen: SamplingSettings, allowed: set[int]
) -> None:
    assert set(counts(chosen)) == allowed


def test_kept_tokens_keep_their_proportions() -> None:
    found = shares(counts(SamplingSettings(top_k=2)))
    assert found[0] == pytest.approx(0.5 / 0.8, abs=0.03)


@given(
    st.lists(st.floats(-12, 4, width=32), min_size=1, max_size=700),
    st.one_of(st.none(), st.integers(1, 800)),
    st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    st.one_of(st.just(0.0), st.floats(0.001, 1)),
    st.floats(0.2, 3),
    st.integers(0, 2**53),
)
@settings(max_examples=200)
def test_what_is_drawn_is_what_the_definitions_leave_in(
    logits: list[float],
    top_k: int | None,
    top_p: float,
    min_p: float,
    temperature: float,
    seed: int,
) -> None:
    """Vocabularies below and above what is sorted at first, and what is summed in one block."""
    chosen = SamplingSettings(temperature, top_k, top_p, min_p, seed=seed)
    rows = [replace(chosen, seed=seed + row) for row in range(8)]
    logits_v = np.array(logits, np.float32)
    weight_v = np.exp((logits_v.astype(np.float64) - logits_v.max()) / temperature)
    probability_v = weight_v / weight_v.sum()
    rank = np.sort(probability_v)[::-1]
    places = np.arange(len(rank))
    kept = places < (top_k or len(rank))
    kept &= (np.cumsum(rank) - rank < top_p + 1e-5) | (top_p == 1)
    kept &= rank >= min_p * rank[0] * (1 - 1e-5)
    lowest = rank[kept].min() * (1 - 1e-5)
    for token in draw(torch.from_numpy(logits_v).expand(8, -1), rows).tokens_b:
        assert probability_v[token] >= lowest


def test_a_large_vocabulary_follows_its_probabilities() -> None:
    """Weights are summed block by block there."""
    logits_v = torch.zeros(3_000)
    logits_v[[5, 700, 2_999]] = math.log(1_000)
    rows = [SamplingSettings(seed=seed) for seed in range(6_000)]
    tokens_b = draw(logits_v.expand(len(rows), -1), rows).tokens_b
    for token in (5, 700, 2_999):
        assert np.mean(tokens_b == token) == pytest.approx(1_000 / 5_997, abs=0.02)
    others_b = tokens_b[~np.isin(tokens_b, [5, 700, 2_999])]
    assert len(others_b) == pytest.approx(3_000, abs=200)
    assert np.histogram(others_b, bins=6, range=(0, 3_000))[0] == pytest.approx(500, abs=90)


def test_repetition_penalty_makes_seen_tokens_less_probable() -> None:
    free = counts(SamplingSettings())
    penalised = counts(SamplingSettings(repetition_penalty=3.0), history=(0, 0))
    assert penalised[0] < 0.6 * free[0]
    assert counts(SamplingSettings(repetition_penalty=3.0)) == free


def test_penalties_are_taken_for_what_the_text_has() -> None:
    """Of a text that must go on as the penalties say: the prompt's tokens count for repetition
    only."""
    logits_bv = torch.tensor([[3.0, 2.5, 0.0, -1.0]])
    logprob_v = torch.log_softmax(logits_bv[0], dim=0).numpy().astype(np.float64)

    def expected(chosen: SamplingSettings, prompt: list[int], length: int) -> list[int]:
        text: list[int] = []
        for _ in range(length):
            score_v = logprob_v.copy()
            for token in {*prompt, *text}:
                score_v[token] *= chosen.repetition_penalty
            for token in text:
                score_v[token] -= chosen.frequency_penalty
            for token in set(text):
                score_v[token] -= chosen.presence_penalty
            text.append(int(score_v.argmax()))
        return text

    for amounts in ((1.0, 0.3, 0.0), (1.0, 0.0, 0.7), (1.8, 0.2, 0.4), (1.0, -0.5, 0.6)):
        chosen = SamplingSettings(0, None, 1.0, 0.0, *amounts)
        for prompt in ([], [0, 0, 3]):
            sampler = make_sampler([chosen], [prompt], 4)
            text = [int(sampler.draw(logits_bv).tokens_b[0]) for _ in range(12)]
            assert text == expected(chosen, prompt, 12), (amounts, prompt)


SETTINGS = st.builds(
    SamplingSettings,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.one_of(st.none(), st.integers(1, 900)),
    top_p=st.one_of(st.just(1.0), st.floats(0.05, 0.999)),
    min_p=st.one_of(st.just(0.0), st.floats(0.001, 0.5)),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.25]),
    seed=st.integers(0, 2**53),
    logprobs=st.one_of(st.none(), st.integers(0, 5)),
)


@given(
    st.lists(SETTINGS, min_size=1, max_size=12),
    st.sampled_from([3, 40, 256, 257, 900]),
    st.sampled_from([700, 2**17]),
    st.integers(0, 2**31),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_a_row_draws_the_same_in_any_company(
    chosen: list[SamplingSettings],
    vocabulary: int,
    scores_at_once: int,
    seed: int,
    data: st.DataObject,
) -> None:
    """Rows that join and leave at random, in one part and in many, against each row alone from its
    first token to its last; and a sampler that is told the first tokens goes on as the one that
    drew them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_SCORES_AT_ONCE", scores_at_once)
        check_company(chosen, vocabulary, seed, data)


def check_company(
    chosen: list[SamplingSettings], vocabulary: int, seed: int, data: st.DataObject
) -> None:
    random = np.random.default_rng(seed)
    steps = 6
    logits_rtv = random.normal(0, 3, (len(chosen), steps, vocabulary)).astype(np.float32)
    prompts = [random.integers(0, vocabulary, 3).tolist() for _ in chosen]

    def row(index: int) -> Any:
        return make_sampler([chosen[index]], [prompts[index]], vocabulary)

    def alone(index: int) -> list[tuple[int, TokenLogprobs | None]]:
        sampler, found = row(index), []
        for logits_v in logits_rtv[index]:
            draws = sampler.draw(torch.from_numpy(logits_v[None]))
            found.append((int(draws.tokens_b[0]), draws.logprobs.get(0)))
        return found

    joins = [data.draw(st.integers(0, 3)) for _ in chosen]
    lengths = [data.draw(st.integers(1, steps)) for _ in chosen]
    batch: list[int] = []
    found: dict[int, list[tuple[int, TokenLogprobs | None]]] = {i: [] for i in range(len(chosen))}
    sampler = None
    for turn in range(steps + 4):
        for index, join in enumerate(joins):
            if join == turn:
                one = row(index)
                sampler = one if sampler is None else sampler.cat([sampler, one])
                batch.append(index)
        if sampler is None or not batch:
            continue
        logits_bv = np.stack([logits_rtv[index, len(found[index])] for index in batch])
        draws = sampler.draw(torch.from_numpy(logits_bv))
        for place, index in enumerate(batch):
            found[index].append((int(draws.tokens_b[place]), draws.logprobs.get(place)))
        kept = [place for place, i in enumerate(batch) if len(found[i]) < lengths[i]]
        sampler = sampler.select(kept)
        batch = [batch[place] for place in kept]
    for index in range(len(chosen)):
        expected = alone(index)
        assert found[index] == expected[: lengths[index]]
        drawn = [token for token, _ in expected[:3]]
        later = make_sampler([chosen[index]], [prompts[index]], vocabulary, drawn=[drawn])
        token = later.draw(torch.from_numpy(logits_rtv[index, 3:4])).tokens_b[0]
        assert token == expected[3][0]


def test_the_numbers_of_a_seed_stay_as_they_are() -> None:
    """Who keeps a seed keeps a text."""
    sampler = make_sampler([SamplingSettings(seed=7)], [[]], 1_000)
    drawn = [int(sampler.draw(torch.zeros(1, 1_000)).tokens_b[0]) for _ in range(6)]
    assert drawn == [716, 524, 302, 940, 883, 663]


def test_numbers_of_a_seed_and_of_neighbouring_seeds_are_even_and_independent() -> None:
    """Two tokens of equal weight: 200 seeds side by side, 500 draws each."""
    rows = [SamplingSettings(seed=seed) for seed in range(200)]
    sampler = make_sampler(rows, [[]] * 200, 2)
    bits_tb = np.array([sampler.draw(torch.zeros(200, 2)).tokens_b for _ in range(500)]) * 2 - 1
    assert abs(bits_tb.mean()) < 0.013  # four standard deviations, as below
    assert np.abs(bits_tb.mean(axis=0)).max() < 4.5 / math.sqrt(500)
    between_seeds = (bits_tb[:, 1:] * bits_tb[:, :-1]).mean(axis=0)
    between_draws = (bits_tb[1:] * bits_tb[:-1]).mean(axis=0)
    assert np.abs(between_seeds).max() < 4.5 / math.sqrt(500)
    assert np.abs(between_draws).max() < 4.5 / math.sqrt(499)


def test_logprobs_are_the_networks_own_before_any_setting() -> None:
    chosen = SamplingSettings(temperature=3.0, top_k=1, repetition_penalty=2.0, logprobs=2)
    draws = make_sampler([chosen], [[3]], 5).draw(LOGITS_V[None] + 4)
    told = draws.logprobs[0]
    assert draws.tokens_b.tolist() == [0]
    assert told.chosen == pytest.approx(math.log(0.5), abs=1e-5)
    assert [token for token, _ in told.likeliest] == [0, 1]
    assert told.likeliest[1][1] == pytest.approx(math.log(0.3), abs=1e-5)


def test_only_rows_that_ask_are_told_logprobs_and_equal_ones_in_order() -> None:
    rows = [SamplingSettings(), SamplingSettings(logprobs=0), SamplingSettings(logprobs=9)]
    draws = draw(torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(3, -1), rows)
    assert sorted(draws.logprobs) == [1, 2]
    assert draws.logprobs[1].likeliest == ()
    assert [token for token, _ in draws.logprobs[2].likeliest] == [1, 3, 0, 2]


def test_impossible_tokens_are_never_drawn() -> None:
    logits_v = torch.full((256,), -torch.inf)
    logits_v[[3, 200]] = 0.0
    rows = [SamplingSettings(seed=seed, top_p=1 - (seed % 2) / 10_000) for seed in range(200)]
    assert set(draw(logits_v.expand(200, -1), rows).tokens_b.tolist()) == {3, 200}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rows_whose_scores_are_no_numbers_are_told_and_disturb_nobody(bad: float) -> None:
    rows = [SamplingSettings(0.8, top_k, seed=seed) for seed, top_k in ((1, None), (2, 3), (3, 2))]
    logits_bv = torch.randn(3, 256, generator=torch.Generator().manual_seed(9))
    expected = draw(logits_bv, rows)
    assert expected.finite_b.all()
    logits_bv[1, 17] = bad
    found = draw(logits_bv, rows)
    assert found.finite_b.tolist() == [True, False, True]
    assert found.tokens_b[[0, 2]].tolist() == expected.tokens_b[[0, 2]].tolist()


@pytest.mark.parametrize(
    "chosen",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -1},
        {"repetition_penalty": 0},
        {"presence_penalty": math.nan},
        {"frequency_penalty": 101},
        {"logprobs": -1},
    ],
)
def test_settings_out_of_range_are_named(chosen: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(chosen))):
        SamplingSettings(**chosen)


def test_no_seed_begins_with_an_extreme_number() -> None:
    """The hash leaves 0 where it is, and 0 is the seed that is meant where none is given."""
    numbers_b = uniform(first_counters(range(1_000), [0] * 1_000))
    assert len(set(numbers_b.tolist())) == 1_000
    assert numbers_b[0] > 0.01
    assert abs(numbers_b.mean() - 0.5) < 0.05
