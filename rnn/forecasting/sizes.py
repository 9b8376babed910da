"""Sizes that a forecasting configuration implies. Needs no torch."""

from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.config.forecasting import DistributionName
from rnn.forecasting.windows import VALUE_FEATURES, WindowShape
from rnn.sizes import convolution_parameters, stack_parameters

SEGMENTS_OF_DEFAULT_LENGTH = 8

# Numbers that a network gives for each future timestep.
OUTPUTS: dict[DistributionName, int] = {
    "quantile": 1 + len(QUANTILE_LEVELS),
    "student_t": 3,
    "negative_binomial": 2,
    "point": 1,
}


def segment_length(config: ForecastingConfig) -> int:
    """Timesteps of a segment: as chosen, or whole seasons, about eight in the context."""
    data = config.data
    assert data.context_length is not None, "resolved before"
    assert data.season_length is not None, "resolved before"
    wanted = config.architecture.segment_length
    if wanted is None:
        seasons = round(data.context_length / SEGMENTS_OF_DEFAULT_LENGTH / data.season_length)
        wanted = max(1, seasons) * data.season_length
    return min(wanted, data.context_length)


def head_parameters(config: ForecastingConfig) -> int:
    """Weights after the recurrent stack that reads the context, exactly."""
    shape, width = WindowShape.of(config.data), config.architecture.hidden_size
    outputs = OUTPUTS[config.architecture.distribution]
    if config.architecture.decoding == "direct":
        return (
            2 * (width * width + width)
            + (shape.future_features * width + width)
            + shape.horizon * width
            + (width * outputs + outputs)
        )
    if config.architecture.decoding == "recursive":
        reads = VALUE_FEATURES + shape.future_features
        return stack_parameters(config.architecture, reads) + width * outputs + outputs
    length, token = segment_length(config), stack_inputs(config)
    segments = -(-shape.horizon // length)
    linear = shape.context_length * shape.horizon * outputs if config.architecture.linear else 0
    return (
        token * segments
        + (length * shape.future_features * token + token)
        + (width * length * outputs + length * outputs)
        + linear
    )


def stack_inputs(config: ForecastingConfig) -> int:
    """Width of what the recurrent stack reads at a timestep, or of a segment."""
    architecture = config.architecture
    if architecture.convolution is not None:
        return architecture.convolution.channels
    if architecture.decoding == "segments":
        return architecture.hidden_size
    return WindowShape.of(config.data).input_features


def forecasting_parameters(config: ForecastingConfig) -> int:
    """Weights of `rnn.forecasting.network.ForecastingNetwork`, exactly."""
    architecture, reads = config.architecture, WindowShape.of(config.data).input_features
    total = stack_parameters(architecture, stack_inputs(config)) + head_parameters(config)
    if architecture.decoding == "segments":
        width = architecture.hidden_size
        total += segment_length(config) * reads * width + width
        reads = width
    if architecture.convolution is not None:
        total += convolution_parameters(architecture.convolution, reads)
    return total
