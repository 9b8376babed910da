"""The convolutional front end against its sums written out, and padding that must not matter."""

import pytest
import torch
from torch import Tensor, nn

from rnn.config import ConvolutionConfig
from rnn.convolution import ConvolutionFront
from rnn.determinism import Randomness
from rnn.sizes import convolution_parameters

SHAPES = [
    {"num_layers": 1, "kernel_size": 3, "pooling": 1},
    {"num_layers": 2, "kernel_size": 4, "pooling": 2},
    {"num_layers": 3, "kernel_size": 5, "pooling": 3},
    {"num_layers": 2, "kernel_size": 1, "pooling": 16},
    {"num_layers": 2, "kernel_size": 64, "pooling": 2},
]
every_shape = pytest.mark.parametrize("shape", SHAPES)


def front_of(shape: dict[str, int], seed: int = 0) -> ConvolutionFront:
    """In float64, with biases that are not zero."""
    config = ConvolutionConfig(channels=6, **shape)
    front = ConvolutionFront(config, 4, Randomness(seed, torch.device("cpu"))).double()
    noise = torch.Generator().manual_seed(seed)
    for name, parameter in front.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter, generator=noise)
    return front


def random_rows(rows: int, timesteps: int) -> Tensor:
    noise = torch.Generator().manual_seed(rows)
    return torch.randn(rows, timesteps, 4, generator=noise, dtype=torch.float64)


def written_out(front: ConvolutionFront, x_td: Tensor) -> Tensor:
    """One row, one output after the other."""
    for convolution in front.convolutions:
        assert isinstance(convolution, nn.Conv1d)
        assert convolution.bias is not None
        kernel_size, timesteps = convolution.weight.shape[2], len(x_td)
        outputs = []
        for timestep in range(timesteps):
            total_c = convolution.bias.clone()
            for tap in range(kernel_size):
                read = timestep + tap - (kernel_size - 1) // 2
                if 0 <= read < timesteps:
                    total_c = total_c + convolution.weight[:, :, tap] @ x_td[read]
            outputs.append(total_c.clamp_min(0))
        pooled = [torch.stack(outputs[i : i + front.pooling]).amax(0)
                  for i in range(0, timesteps, front.pooling)]  # fmt: skip
        x_td = torch.stack(pooled)
    return x_td


@every_shape
@pytest.mark.parametrize("timesteps", [1, 2, 7, 18])
def test_outputs_are_sums_over_the_timesteps_around(shape: dict[str, int], timesteps: int) -> None:
    front, x_btd = front_of(shape), random_rows(2, timesteps)
    y_btc, lengths_b = front(x_btd)
    assert lengths_b is None
    for row in range(2):
        torch.testing.assert_close(y_btc[row], written_out(front, x_btd[row]))


@every_shape
def test_padded_batch_equals_each_row_alone(shape: dict[str, int]) -> None:
    front, x_btd, lengths_b = front_of(shape), random_rows(5, 19), torch.tensor([19, 1, 7, 12, 16])
    padding_bt = torch.arange(19) >= lengths_b[:, None]
    x_btd[padding_bt] = torch.inf  # would be seen at once if it were read
    y_btc, pooled_b = front(x_btd, lengths_b)
    assert y_btc.shape[1] == pooled_b.max()
    for row, (length, pooled) in enumerate(zip(lengths_b.tolist(), pooled_b.tolist(), strict=True)):
        alone_btc, _ = front(x_btd[row : row + 1, :length])
        assert alone_btc.shape[1] == pooled
        torch.testing.assert_close(y_btc[row, :pooled], alone_btc[0])
        assert not y_btc[row, pooled:].any()


def test_nothing_flows_back_to_padding() -> None:
    front, x_btd = front_of(SHAPES[1]), random_rows(2, 9).requires_grad_()
    y_btc, _ = front(x_btd, torch.tensor([9, 4]))
    y_btc.sum().backward()
    assert x_btd.grad is not None
    assert x_btd.grad[0].any()
    assert not x_btd.grad[1, 4:].any()


def test_autocast_rounds_the_products_and_not_the_type() -> None:
    front, x_btd = front_of(SHAPES[0]).float(), random_rows(2, 9).float()
    with torch.autocast("cpu", torch.bfloat16):
        y_btc, _ = front(x_btd)
    assert y_btc.dtype == torch.float32
    torch.testing.assert_close(y_btc, front(x_btd)[0], rtol=0.03, atol=0.03)


@every_shape
def test_the_size_is_known_before_it_is_built(shape: dict[str, int]) -> None:
    front = front_of(shape)
    expected = convolution_parameters(ConvolutionConfig(channels=6, **shape), 4)
    assert sum(parameter.numel() for parameter in front.parameters()) == expected
    assert front.output_size == 6
