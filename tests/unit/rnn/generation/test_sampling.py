"""Sampling: what each setting allows, and rows that do not depend on their neighbours."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from rnn.errors import ConfigError
from rnn.generation.sampling import SamplingSettings, sample

LOGITS_V = torch.tensor([0.5, 0.3, 0.1, 0.06, 0.04]).log()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counts(settings: SamplingSettings, draws: int = 4000, history: tuple[int, ...] = ()) -> Counter:
    rows = 100
    generators = [seeded(row) for row in range(rows)]
    found: Counter = Counter()
    for _ in range(draws // rows):
        tokens, _ = sample(
            LOGITS_V.expand(rows, -1), [settings] * rows, [history] * rows, generators
        )
        found.update(tokens)
    return found


def shares(found: Counter) -> list[float]:
    return [found[token] / found.total() for token in range(5)]


def test_plain_sampling_follows_the_probabilities() -> None:
    assert shares(counts(SamplingSettings())) == pytest.approx(
        [0.5, 0.3, 0.1, 0.06, 0.04], abs=0.03
    )


def test_temperature_sharpens_and_flattens() -> None:
    assert shares(counts(SamplingSettings(temperature=0.5)))[0] > 0.65
    assert shares(counts(SamplingSettings(temperature=5.0)))[0] < 0.3


def test_temperature_zero_takes_the_best_and_draws_nothing() -> None:
    generator = seeded(0)
    before = generator.get_state()
    tokens, logprobs = sample(LOGITS_V[None], [SamplingSettings(temperature=0)], [[]], [generator])
    assert tokens == [0]
    assert logprobs[0] == pytest.approx(math.log(0.5), abs=1e-6)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-38, 1e-7, 1e-6, 1e-5])
def test_a_tiny_temperature_takes_the_best(temperature: float) -> None:
    """A temperature that a float32 holds as zero once divided zero by zero, and the last token of
    the vocabulary was drawn each time."""
    settings = SamplingSettings(temperature=temperature)
    one_sure_bv = torch.full((1, 256), -torch.inf)
    one_sure_bv[0, 7] = 0.0
    for logits_bv, best in ((LOGITS_V[None], 0), (LOGITS_V[None] - 80, 0), (one_sure_bv, 7)):
        drawn = [sample(logits_bv, [settings], [[]], [seeded(seed)])[0] for seed in range(20)]
        assert drawn == [[best]] * 20


@pytest.mark.parametrize(
    ("settings", "allowed"),
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
    settings: SamplingSettings, allowed: set[int]
) -> None:
    assert set(counts(settings)) == allowed


def test_kept_tokens_keep_their_proportions() -> None:
    found = shares(counts(SamplingSettings(top_k=2)))
    assert found[0] == pytest.approx(0.5 / 0.8, abs=0.03)


def test_repetition_penalty_makes_seen_tokens_less_probable() -> None:
    free = counts(SamplingSettings())
    penalised = counts(SamplingSettings(repetition_penalty=3.0), history=(0, 0))
    assert penalised[0] < 0.6 * free[0]
    assert counts(SamplingSettings(repetition_penalty=3.0)) == free


def test_a_row_draws_the_same_whatever_its_neighbours_ask_for() -> None:
    wanted = SamplingSettings(temperature=0.8)
    neighbours = [
        SamplingSettings(temperature=0),
        SamplingSettings(top_k=2),
        SamplingSettings(top_p=0.3, repetition_penalty=2.0),
    ]
    logits_bv = torch.randn(4, 256, generator=seeded(9))

    def draws(logits_bv: Tensor, settings: list[SamplingSettings]) -> list[tuple[int, float]]:
        generators = [seeded(7 if row is wanted else 100 + n) for n, row in enumerate(settings)]
        place = settings.index(wanted)
        results = []
        for _ in range(50):
            tokens, logprobs = sample(logits_bv, settings, [[1, 2]] * len(settings), generators)
            results.append((tokens[place], logprobs[place]))
        return results

    alone = draws(logits_bv[2:3], [wanted])
    crowd = draws(logits_bv, [neighbours[0], neighbours[1], wanted, neighbours[2]])
    assert alone == crowd


def test_a_logprob_is_the_networks_own_before_any_setting() -> None:
    settings = SamplingSettings(temperature=3.0, top_k=1, repetition_penalty=2.0)
    tokens, logprobs = sample(LOGITS_V[None] + 4, [settings], [[3]], [seeded(0)])
    assert tokens == [0]
    assert logprobs == pytest.approx([math.log(0.5)], abs=1e-5)


def test_impossible_tokens_are_never_drawn() -> None:
    logits_bv = torch.full((1, 256), -torch.inf)
    logits_bv[0, [3, 200]] = 0.0
    generator = seeded(0)
    drawn = {
        sample(logits_bv, [settings], [[]], [generator])[0][0]
        for settings in [SamplingSettings(), SamplingSettings(top_p=0.9999)] * 100
    }
    assert drawn == {3, 200}


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -1},
        {"repetition_penalty": 0},
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SamplingSettings(**settings)  # type: ignore[arg-type]
