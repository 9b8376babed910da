"""Layers of many rows at once: each row's numbers are those of the row alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from rnn.rows import gelu_alone, linear_alone, row_by_row

sizes = st.sampled_from([1, 3, 16, 17, 31, 64, 96, 128])
some = settings(max_examples=60, deadline=None)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def layer_of(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(random(*parameter.shape))
    return layer


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
@some
@given(rows=st.integers(1, 9), count=sizes, inputs=sizes, outputs=sizes, bias=st.booleans())
def test_a_layer_of_rows(
    threads: int, rows: int, count: int, inputs: int, outputs: int, bias: bool
) -> None:
    layer, x_bnd = layer_of(inputs, outputs, bias=bias), random(rows, count, inputs)
    with torch.inference_mode(), on_threads(threads):
        expected, first = row_by_row(layer, x_bnd), row_by_row(layer, x_bnd[:, 0])
        assert torch.equal(linear_alone(layer, x_bnd), expected)
        assert torch.equal(linear_alone(layer, x_bnd[:, 0]), first)
        strided_bnd = torch.stack([x_bnd, x_bnd], dim=3)[..., 0]
        assert torch.equal(linear_alone(layer, strided_bnd), expected)


@pytest.mark.parametrize("threads", [1, 3])
@some
@given(rows=st.integers(1, 40), count=sizes, width=sizes)
def test_the_gelu_of_rows(threads: int, rows: int, count: int, width: int) -> None:
    x_bnw = random(rows, count, width)
    with on_threads(threads):
        expected = row_by_row(functional.gelu, x_bnw)
        assert torch.equal(gelu_alone(x_bnw), expected)


def test_no_rows() -> None:
    assert linear_alone(layer_of(3, 2, bias=True), torch.empty(0, 5, 3)).shape == (0, 5, 2)
    assert gelu_alone(torch.empty(0, 5, 3)).shape == (0, 5, 3)
