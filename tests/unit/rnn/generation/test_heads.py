"""Every softmax against its definition, written out in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rnn.config import GenerationConfig
from rnn.generation import cross_entropy
from rnn.generation.cross_entropy import linear_cross_entropy
from rnn.generation.heads import AdaptiveSoftmax, MixtureOfSoftmaxes
from rnn.generation.sizes import adaptive_cutoffs
from tests.unit.rnn.generation.cases import HEADS, config, network

VOCABULARY = 40


def outputs(rows: int = 9, size: int = 16) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    y_nh = torch.randn(rows, size, generator=random, dtype=torch.float64).requires_grad_()
    return y_nh, torch.randint(VOCABULARY, (rows,), generator=random)


@pytest.fixture(params=[2**20, 1], ids=["one chunk", "many chunks"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "_CHUNK_SCORES", request.param)


@pytest.mark.usefixtures("chunks")
def test_linear_cross_entropy_is_that_of_all_scores_at_once() -> None:
    random = torch.Generator().manual_seed(0)
    arguments = [
        torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()
        for shape in ((150, 5), (7, 5), (7,))
    ]
    targets_n = torch.randint(7, (150,), generator=random)
    loss = linear_cross_entropy(*arguments, targets_n)
    whole = functional.cross_entropy(functional.linear(*arguments), targets_n)
    torch.testing.assert_close(loss, whole)
    for ours, direct in zip(
        torch.autograd.grad(3 * loss, arguments),
        torch.autograd.grad(3 * whole, arguments),
        strict=True,
    ):
        torch.testing.assert_close(ours, direct)


def test_linear_cross_entropy_under_autocast_is_near_that_without() -> None:
    random = torch.Generator().manual_seed(0)
    y_nh, weight_vh, bias_v = (
        torch.randn(shape, generator=random).requires_grad_()
        for shape in ((150, 8), (30, 8), (30,))
    )
    targets_n = torch.randint(30, (150,), generator=random)
    arguments = (y_nh, weight_vh, bias_v)
    exact = torch.autograd.grad(linear_cross_entropy(*arguments, targets_n), arguments)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(*arguments, targets_n)
    assert loss.dtype == torch.float32
    for near, gradient in zip(torch.autograd.grad(loss, arguments), exact, strict=True):
        assert near.dtype == torch.float32
        assert float((near - gradient).norm() / gradient.norm()) < 0.02


@pytest.mark.parametrize("architecture", HEADS)
def test_scores_are_a_distribution_and_the_loss_is_its_logarithm(
    architecture: dict[str, Any],
) -> None:
    head = network(architecture).head
    y_nh, targets_n = outputs()
    logp_nv = torch.log_softmax(head.scores(y_nh), dim=1)
    direct = -logp_nv.gather(1, targets_n[:, None]).mean()
    loss = head.mean_loss(y_nh, targets_n)
    torch.testing.assert_close(loss, direct)
    ours = torch.autograd.grad(loss, [y_nh, *head.parameters()], retain_graph=True)
    theirs = torch.autograd.grad(direct, [y_nh, *head.parameters()])
    for gradient, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("architecture", HEADS)
def test_a_head_that_is_one_linear_map_gives_its_scores(architecture: dict[str, Any]) -> None:
    head = network(architecture).head
    y_nh, _ = outputs()
    linear = head.linear()
    assert (linear is not None) == (architecture.get("softmax", "full") == "full")
    if linear is not None:
        torch.testing.assert_close(linear(y_nh), head.scores(y_nh))


def test_a_mixture_is_the_weighted_mean_of_its_softmaxes() -> None:
    net = network({"softmax": "mixture", "mixture_components": 3, "tied": True})
    head = net.head
    assert isinstance(head, MixtureOfSoftmaxes)
    y_nh, _ = outputs()
    weight_nk = torch.softmax(y_nh @ head.prior.weight.T, dim=1)
    probability_nv = torch.zeros(len(y_nh), VOCABULARY, dtype=torch.float64)
    for component in range(3):
        rows = slice(6 * component, 6 * (component + 1))
        view_ne = torch.tanh(y_nh @ head.views.weight[rows].T + head.views.bias[rows])
        scores_nv = view_ne @ net.embedding.weight.T + head.vectors.bias
        probability_nv += weight_nk[:, component, None] * torch.softmax(scores_nv, dim=1)
    torch.testing.assert_close(head.scores(y_nh).exp(), probability_nv)


def test_an_adaptive_softmax_is_the_product_of_group_and_token() -> None:
    head = network({"softmax": "adaptive"}).head
    assert isinstance(head, AdaptiveSoftmax)
    y_nh, _ = outputs()
    assert adaptive_cutoffs(VOCABULARY) == [4, 13]
    first_nv = torch.softmax(y_nh @ head.head.weight.T, dim=1)  # four tokens, then two groups
    parts = [first_nv[:, :4]]
    for group, size in enumerate((9, 27)):
        down, up = head.tail[group]
        within_nv = torch.softmax(y_nh @ down.weight.T @ up.weight.T, dim=1)
        assert within_nv.shape[1] == size
        parts.append(first_nv[:, 4 + group, None] * within_nv)
    torch.testing.assert_close(head.scores(y_nh).exp(), torch.cat(parts, dim=1))


@pytest.mark.parametrize("vocabulary", [2, 3, 9, 10, 11, 30, 10_000])
def test_cutoffs_rise_within_the_vocabulary(vocabulary: int) -> None:
    cutoffs = adaptive_cutoffs(vocabulary)
    assert cutoffs == sorted(set(cutoffs))
    assert cutoffs[0] > 0
    assert cutoffs[-1] < vocabulary


@pytest.mark.parametrize(
    ("architecture", "data", "message"),
    [
        ({"softmax": "adaptive", "tied": True}, {}, "several widths"),
        ({"softmax": "adaptive"}, {"tokenizer": "byte"}, "orders tokens by frequency"),
        ({"softmax": "adaptive", "hidden_size": 8}, {}, "16 units"),
        ({}, {"validation_fraction": 0.6, "test_fraction": 0.4}, "nothing to learn from"),
    ],
)
def test_choices_that_do_not_fit_are_refused(
    architecture: dict[str, Any], data: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        config(architecture, data)


def test_bytes_stay_the_default() -> None:
    plain = GenerationConfig(task="text-generation")
    assert plain.data.tokenizer == "byte"
    assert (plain.architecture.softmax, plain.architecture.tied) == ("full", False)
