"""What is served is what was trained: decoders against the network's own training pass."""

from typing import Any

import numpy as np
import pytest
import torch

from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.config.forecasting import DistributionName
from rnn.data.examples import SeriesExamples
from rnn.determinism import Randomness
from rnn.forecasting.coding import CodedWindows, code_windows
from rnn.forecasting.decoding import Decoder, stated
from rnn.forecasting.distributions import DISTRIBUTIONS
from rnn.forecasting.heads import SegmentHead
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.targets import read_values
from rnn.forecasting.windows import SeriesWindows, WindowShape

CPU = torch.device("cpu")


def made(architecture: dict[str, Any]) -> tuple[ForecastingConfig, ForecastingNetwork]:
    config = ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"hidden_size": 6, **architecture},
            "data": {"horizon": 7, "context_length": 13, "season_length": 4, "scaling": "last"},
        }
    )
    network = ForecastingNetwork(config, Randomness(0, CPU)).eval()
    torch.nn.init.normal_(network.head.out.weight, generator=torch.Generator().manual_seed(0))
    linear = getattr(network.head, "linear", None)
    if linear is not None:
        torch.nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(1))
    return config, network


def windows(config: ForecastingConfig, rows: int = 3) -> CodedWindows:
    random = np.random.default_rng(0)
    series = [random.normal(size=40).cumsum() for _ in range(rows)]
    shape = WindowShape.of(config.data)
    examples = SeriesExamples([""] * rows, series, [None] * rows, None)
    return code_windows(SeriesWindows(examples, shape).ends(), shape)


def tensors(coded: CodedWindows) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(coded.inputs_btd), torch.from_numpy(coded.future_bhd)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "architecture",
    [
        {},
        {"convolution": {"channels": 5, "pooling": 2}},
        {"decoding": "segments", "cell": "gru"},
        {"decoding": "segments", "segment_length": 5, "distribution": "student_t"},
        {"decoding": "segments", "segment_length": 3, "convolution": {"channels": 5}},
        {"decoding": "segments", "segment_length": 3, "cell": "mlstm", "num_heads": 2},
        {"decoding": "segments", "segment_length": 5, "linear": True},
    ],
)
@torch.inference_mode()
def test_a_decoder_states_what_the_training_pass_gives(
    architecture: dict[str, Any], fast: bool
) -> None:
    config, network = made(architecture)
    coded = windows(config)
    distribution = DISTRIBUTIONS[config.architecture.distribution]
    expected = stated(distribution, network(*tensors(coded)), coded, QUANTILE_LEVELS)
    found = Decoder(config, network, fast=fast).forecast(coded, QUANTILE_LEVELS)
    np.testing.assert_allclose(found.mean_bh, expected.mean_bh, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.quantiles_bhq, expected.quantiles_bhq, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
@torch.inference_mode()
def test_recursive_points_are_those_of_the_training_pass_fed_with_them(cell: str) -> None:
    architecture = {"decoding": "recursive", "distribution": "point", "cell": cell, "num_heads": 2}
    config, network = made(architecture)
    coded = windows(config)
    found = Decoder(config, network, fast=True).forecast(coded, [0.5])
    fed_bh2 = torch.from_numpy(read_values(found.mean_bh, coded.scale))
    expected = stated(DISTRIBUTIONS["point"], network(*tensors(coded), fed_bh2), coded, [0.5])
    np.testing.assert_allclose(found.mean_bh, expected.mean_bh, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_paths_of_the_first_step_have_its_distribution() -> None:
    config, network = made({"decoding": "recursive", "distribution": "student_t"})
    coded = windows(config)
    no_truth = torch.zeros(3, 7, 2)
    first = stated(
        DISTRIBUTIONS["student_t"], network(*tensors(coded), no_truth), coded, [0.1, 0.5, 0.9]
    )
    found = Decoder(config, network, fast=False).forecast(coded, [0.1, 0.5, 0.9])
    scale_b1 = coded.scale.scale_b[:, None]
    np.testing.assert_allclose(
        found.quantiles_bhq[:, 0] / scale_b1, first.quantiles_bhq[:, 0] / scale_b1, atol=0.15
    )
    np.testing.assert_allclose(found.mean_bh[:, 0], first.mean_bh[:, 0], rtol=1e-4)


@pytest.mark.parametrize("distribution", ["quantile", "student_t", "negative_binomial"])
@torch.inference_mode()
def test_a_drawn_value_is_read_before_the_next_step(
    distribution: DistributionName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single path stands for the middle of the probability: it draws medians."""
    monkeypatch.setattr("rnn.forecasting.decoding.PATHS", 1)
    config, network = made({"decoding": "recursive", "distribution": distribution})
    coded = windows(config)
    found = Decoder(config, network, fast=False).forecast(coded, [0.5])
    fed_bh2 = torch.from_numpy(read_values(found.quantiles_bhq[:, :, 0], coded.scale))
    outputs_bho = network(*tensors(coded), fed_bh2)
    expected = stated(DISTRIBUTIONS[distribution], outputs_bho, coded, [0.5])
    np.testing.assert_allclose(found.quantiles_bhq, expected.quantiles_bhq, rtol=1e-4, atol=1e-4)


def test_a_longer_context_than_whole_segments_is_read_to_its_last_value() -> None:
    _, network = made({"decoding": "segments", "segment_length": 5})
    assert network.segment is not None
    x_btd = torch.randn(2, 13, network.segment.embedding.in_features // 5)
    segments_bns = network.segment(x_btd)
    assert segments_bns.shape[1] == 3
    changed = x_btd.clone()
    changed[:, -1] += 1
    assert (network.segment(changed)[:, -1] != segments_bns[:, -1]).any()
    assert torch.equal(network.segment(changed)[:, :-1], segments_bns[:, :-1])


@torch.inference_mode()
def test_a_linear_map_reads_the_values_of_the_context() -> None:
    """The first number of each timestep takes the value as far back as it lies ahead."""
    config, network = made({"decoding": "segments", "distribution": "student_t", "linear": True})
    assert isinstance(network.head, SegmentHead)
    assert network.head.linear is not None
    inputs_btd, future_bhd = tensors(windows(config))
    network.head.linear.weight.zero_()
    without_bho = network(inputs_btd, future_bhd)
    for timestep in range(7):
        network.head.linear.weight[3 * timestep, 12 - timestep] = 1
    added_bho = network(inputs_btd, future_bhd) - without_bho
    expected_bho = torch.zeros(3, 7, 3)
    expected_bho[:, :, 0] = inputs_btd[:, -7:, 0].flip(1)
    torch.testing.assert_close(added_bho, expected_bho, rtol=1e-5, atol=1e-5)
