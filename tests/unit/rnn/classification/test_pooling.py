"""One vector a text: what each kind takes, and that padding has no say in it."""

from typing import get_args

import pytest
import torch

from rnn.classification.pooling import Pooling
from rnn.config.classification import PoolingName
from rnn.determinism import Randomness

RANDOMNESS = Randomness(0, torch.device("cpu"))
Y_BTH = torch.tensor(
    [[[1.0, -5.0], [3.0, -1.0], [2.0, -3.0]], [[4.0, 0.0], [9.0, 9.0], [9.0, 9.0]]]
)
LENGTHS_B = torch.tensor([3, 1])


@pytest.mark.parametrize(
    ("kind", "pooled"),
    [
        ("last", [[2.0, -3.0], [4.0, 0.0]]),
        ("max", [[3.0, -1.0], [4.0, 0.0]]),
        ("mean", [[2.0, -3.0], [4.0, 0.0]]),
        ("concatenated", [[2.0, -3.0, 3.0, -1.0, 2.0, -3.0], [4.0, 0.0, 4.0, 0.0, 4.0, 0.0]]),
    ],
)
def test_what_each_kind_takes(kind: PoolingName, pooled: list[list[float]]) -> None:
    pooling = Pooling(kind, 2, RANDOMNESS)
    assert pooling(Y_BTH, LENGTHS_B).tolist() == pooled
    assert pooling.output_size == len(pooled[0])


def test_attention_is_a_mean_weighted_by_the_query() -> None:
    pooling = Pooling("attention", 2, RANDOMNESS)
    assert pooling.attention is not None
    torch.testing.assert_close(pooling(Y_BTH, LENGTHS_B)[0], torch.tensor([2.0, -3.0]))
    with torch.no_grad():
        pooling.attention.query_h.copy_(torch.tensor([0.7, -1.3]))
    keys_th = torch.tanh(Y_BTH[0] @ pooling.attention.key.weight.T)
    weights_t = torch.softmax(keys_th @ pooling.attention.query_h, dim=0)
    attended_bh = pooling(Y_BTH, LENGTHS_B)
    torch.testing.assert_close(attended_bh[0], weights_t @ Y_BTH[0])
    torch.testing.assert_close(attended_bh[1], Y_BTH[1, 0])


@pytest.mark.parametrize("kind", get_args(PoolingName))
def test_padding_has_no_say(kind: PoolingName) -> None:
    """Not even where it is not a number, in the answer or in a gradient."""
    pooling = Pooling(kind, 2, RANDOMNESS)
    if pooling.attention is not None:
        torch.nn.init.ones_(pooling.attention.query_h)
    spoiled_bth = Y_BTH.clone()
    spoiled_bth[1, 1:] = torch.nan
    spoiled_bth.requires_grad_()
    pooled = pooling(spoiled_bth, LENGTHS_B)
    torch.testing.assert_close(pooled, pooling(Y_BTH, LENGTHS_B))
    pooled.sum().backward()
    assert spoiled_bth.grad is not None
    assert spoiled_bth.grad.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in pooling.parameters())
