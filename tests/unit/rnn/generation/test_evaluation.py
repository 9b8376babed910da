"""Evaluations of a trained network against slow ones written out."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rnn.generation import evaluation
from rnn.generation.corpus import Part
from rnn.generation.evaluation import (
    CacheSettings,
    cache_losses,
    choose_cache,
    choose_dynamic_rate,
    dynamic_loss,
    mean_squared_gradients,
    static_loss,
)
from rnn.generation.metrics import text_metrics
from tests.unit.rnn.generation.cases import network

TOKENS = np.random.default_rng(0).integers(0, 40, 400).astype(np.int32)
PART = Part(200, 290, 500)
WARM_UP = 128


def one_reading() -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, targets and losses of the part, after the warm-up before it."""
    net = network().eval()
    tokens_t = torch.from_numpy(TOKENS.astype(np.int64))
    y_bth, _ = net.outputs(tokens_t[None, PART.first - WARM_UP - 1 : PART.end - 1])
    scores_btv = net.head.scores(y_bth[0])
    targets_t = tokens_t[PART.first : PART.end]
    losses_t = functional.cross_entropy(scores_btv[WARM_UP:], targets_t, reduction="none")
    return y_bth[0, WARM_UP:].detach(), targets_t, losses_t.detach()


def test_static_loss_of_one_lane_is_that_of_one_reading() -> None:
    _, _, losses_t = one_reading()
    assert static_loss(network(), TOKENS, PART) == pytest.approx(float(losses_t.mean()))


def test_static_loss_of_many_lanes_warms_each_up_on_the_text_before_it() -> None:
    part = Part(130, 390, 1)
    net = network().eval()
    tokens_t = torch.from_numpy(TOKENS.astype(np.int64))
    total = 0.0
    for start, end in ((130, 260), (260, 390)):  # 260 tokens: two lanes
        warm_up = min(WARM_UP, 129)
        y_bth, _ = net.outputs(tokens_t[None, start - warm_up - 1 : end - 1])
        scores_tv = net.head.scores(y_bth[0, warm_up:])
        losses_t = functional.cross_entropy(scores_tv, tokens_t[start:end], reduction="none")
        total += float(losses_t.detach().sum())
    assert static_loss(net, TOKENS, part) == pytest.approx(total / 260)


@pytest.mark.parametrize("segment", [7, 256])
@pytest.mark.parametrize("size", [5, 1000])
def test_the_cache_is_the_sum_over_what_was_seen(
    segment: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_SEGMENT", segment)
    y_th, targets_t, losses_t = one_reading()
    settings = [CacheSettings(0.3, 0.2), CacheSettings(1.1, 0.2), CacheSettings(0.3, 0.05)]
    for found, chosen in zip(
        cache_losses(network(), TOKENS, PART, settings, size=size), settings, strict=True
    ):
        total = 0.0
        for now in range(len(y_th)):
            probability = math.exp(-losses_t[now])
            seen = range(max(0, now - size), now)
            if seen:
                similarity = {
                    past: math.exp(chosen.flatness * float(y_th[now] @ y_th[past])) for past in seen
                }
                same = sum(similarity[past] for past in seen if targets_t[past] == targets_t[now])
                cached = same / sum(similarity.values())
                probability = (1 - chosen.weight) * probability + chosen.weight * cached
            total -= math.log(probability)
        assert found == pytest.approx(total / len(y_th))


def test_a_text_that_repeats_itself_is_better_with_a_cache() -> None:
    tokens = np.tile(np.random.default_rng(1).integers(0, 40, 50), 10).astype(np.int32)
    net, validation, test = network(), Part(200, 350, 1), Part(350, 500, 1)
    settings = choose_cache(net, tokens, validation)
    [with_cache] = cache_losses(net, tokens, test, [settings])
    assert with_cache < static_loss(net, tokens, test) - 0.5


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    tokens_bt = torch.from_numpy(TOKENS[:186].astype(np.int64)).view(2, 93)
    return [
        (tokens_bt[:, at : at + 30], tokens_bt[:, at + 1 : at + 31])
        for at in range(0, 30 * count, 30)
    ]


def test_squared_gradients_are_their_mean_over_the_batches() -> None:
    net = network()
    found = mean_squared_gradients(net, batches())
    expected = [torch.zeros_like(parameter) for parameter in net.parameters()]
    state = None
    for inputs_bt, targets_bt in batches():
        scores_btv, end = net(inputs_bt, state)
        state = end.detach()
        net.zero_grad()
        functional.cross_entropy(scores_btv.flatten(0, 1), targets_bt.flatten()).backward()  # type: ignore[no-untyped-call]
        for total, parameter in zip(expected, net.parameters(), strict=True):
            assert parameter.grad is not None
            total += parameter.grad**2 / 3
    for square, total in zip(found, expected, strict=True):
        torch.testing.assert_close(square, total)


def test_dynamic_evaluation_is_the_published_update_after_each_segment() -> None:
    squares = mean_squared_gradients(network(), batches())
    rate = 0.01
    net = network().eval()
    start = [parameter.detach().clone() for parameter in net.parameters()]
    roots = [square.sqrt() for square in squares]
    mean_root = torch.cat([root.flatten() for root in roots]).mean()
    tokens_t = torch.from_numpy(TOKENS.astype(np.int64))
    _, state = net(tokens_t[None, PART.first - WARM_UP - 1 : PART.first - 1])
    total = 0.0
    for first in range(PART.first, PART.end, 20):
        end = min(first + 20, PART.end)
        scores_btv, state = net(tokens_t[None, first - 1 : end - 1], state.detach())
        loss = functional.cross_entropy(scores_btv[0], tokens_t[first:end])
        total += float(loss.detach()) * (end - first)
        net.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter, begun, root in zip(net.parameters(), start, roots, strict=True):
            decay = (0.02 * root / mean_root).clamp(max=1)
            step = decay * (begun - parameter.data) - rate * parameter.grad / (root + 1e-5)
            parameter.data += step
    learning = network()
    assert dynamic_loss(learning, TOKENS, PART, squares, rate) == pytest.approx(total / 90)
    for parameter, begun in zip(learning.parameters(), start, strict=True):
        assert torch.equal(parameter, begun)


def test_a_network_that_failed_to_learn_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    squares = [torch.zeros_like(parameter) for parameter in net.parameters()]
    assert not math.isfinite(dynamic_loss(net, TOKENS, PART, squares, 1e300))
    for parameter, begun in zip(net.parameters(), before, strict=True):
        assert torch.equal(parameter, begun)


def test_a_rate_that_breaks_the_network_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "DYNAMIC_RATES", (1e300, 1e-3))
    net = network()
    assert choose_dynamic_rate(net, TOKENS, PART, mean_squared_gradients(net, batches())) == 1e-3


def test_bits_per_character_share_the_loss_among_the_characters() -> None:
    metrics = text_metrics(math.log(2) * 10, characters_per_token=5.0)
    assert metrics["bits_per_token"] == pytest.approx(10)
    assert metrics["bits_per_character"] == pytest.approx(2)
    assert metrics["perplexity"] == pytest.approx(1024)
