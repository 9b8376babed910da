"""Fills in what a forecasting configuration leaves to the data. Needs no torch."""

from collections.abc import Mapping
from typing import Any

from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.errors import DataTooSmallError
from rnn.forecasting.windows import INPUT_FEATURES, WindowShape
from rnn.sizes import fitting_batch_size, stack_parameters, training_length

LONGEST_DEFAULT_HORIZON = 48
DEFAULT_HORIZON_WITHOUT_SEASON = 12
SHORTEST_DEFAULT_CONTEXT = 16
LONGEST_DEFAULT_CONTEXT = 384
SEASONS_IN_DEFAULT_CONTEXT = 7  # a week of days: the second season of most hourly data
DEFAULT_WINDOWS_PER_EPOCH = 16_384


def resolve_forecasting(config: ForecastingConfig, series: Mapping[str, Any]) -> ForecastingConfig:
    data, shortest, longest = config.data, int(series["min_length"]), int(series["max_length"])
    season = data.season_length or series.get("season_length") or 1
    horizon = data.horizon or _default_horizon(season, int(series["median_length"]))
    if data.horizon and data.context_length and data.context_length + horizon > shortest:
        raise DataTooSmallError(
            f"context_length {data.context_length} + horizon {horizon} = "
            f"{data.context_length + horizon} timesteps are more than the shortest series has: "
            f"{shortest}"
        )
    # The last horizon of a series is held out, another is learned from, one value must be read.
    needed = 2 * horizon + 1
    available = shortest if data.horizon else longest
    if needed > available:
        raise DataTooSmallError(
            f"horizon {horizon} needs series of at least {needed} timesteps; the "
            f"{'shortest' if data.horizon else 'longest'} has {available}"
        )
    context = data.context_length or _default_context(season, horizon, longest)
    if context + horizon > longest:
        raise DataTooSmallError(
            f"context_length {context} + horizon {horizon} = {context + horizon} timesteps are "
            f"more than the longest series has: {longest}"
        )
    windows = _most_windows(series, horizon)
    batch_size = fitting_batch_size(config.training, windows, "training windows")
    per_epoch = config.training.windows_per_epoch or min(windows, DEFAULT_WINDOWS_PER_EPOCH)
    steps_per_epoch = -(-per_epoch // batch_size)
    training = config.training.model_copy(
        update={
            "batch_size": batch_size,
            "windows_per_epoch": per_epoch,
            **training_length(
                config.training, steps_per_epoch, steps_per_epoch, fewest_epochs=10, steps=500
            ),
        }
    )
    return config.model_copy(
        update={
            "training": training,
            "data": data.model_copy(
                update={
                    "horizon": horizon,
                    "context_length": context,
                    "season_length": season,
                }
            ),
        }
    )


def _most_windows(series: Mapping[str, Any], horizon: int) -> int:
    """Training windows that series of this profile hold at most: the number is used to refuse, and
    drawing more windows than there are only repeats some.

    A series of n timesteps has at most max(0, n - 2 * horizon) windows. That is convex in n, so
    the line from the shortest to the longest series bounds it from above: exactly where all have
    windows, and where there are two lengths only.
    """
    shortest, longest = int(series["min_length"]), int(series["max_length"])
    in_shortest, in_longest = max(0, shortest - 2 * horizon), longest - 2 * horizon
    beyond_shortest = int(series["points"]) - shortest * int(series["series"])
    rise = (in_longest - in_shortest) * beyond_shortest // max(1, longest - shortest)
    return in_shortest * int(series["series"]) + rise


def _default_horizon(season: int, median_length: int) -> int:
    wanted = min(2 * season, LONGEST_DEFAULT_HORIZON)
    if season == 1:
        wanted = DEFAULT_HORIZON_WITHOUT_SEASON
    return max(1, min(wanted, (median_length - 1) // 3))


def _default_context(season: int, horizon: int, longest: int) -> int:
    wanted = max(SEASONS_IN_DEFAULT_CONTEXT * season, 2 * horizon, SHORTEST_DEFAULT_CONTEXT)
    return max(1, min(wanted, LONGEST_DEFAULT_CONTEXT, longest - 2 * horizon))


def forecasting_parameters(config: ForecastingConfig) -> int:
    """Weights of the network, exactly."""
    shape = WindowShape.of(config.data)
    width = config.architecture.hidden_size
    outputs = 1 + len(QUANTILE_LEVELS)
    head = (
        2 * (width * width + width)
        + (shape.future_features * width + width)
        + shape.horizon * width
        + (width * outputs + outputs)
    )
    return stack_parameters(config.architecture, INPUT_FEATURES) + head
