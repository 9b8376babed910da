"""Fills in what a forecasting configuration leaves to the data. Needs no torch."""

from collections.abc import Mapping
from typing import Any

from rnn.config import ForecastingConfig
from rnn.config.forecasting import ForecastingData, StaticColumn
from rnn.errors import ConfigError, DataTooSmallError
from rnn.forecasting.backtest import BackTest
from rnn.forecasting.calendar import is_frequency
from rnn.sizes import fitting_batch_size, training_length

LONGEST_DEFAULT_HORIZON = 48
DEFAULT_HORIZON_WITHOUT_SEASON = 12
SHORTEST_DEFAULT_CONTEXT = 16
LONGEST_DEFAULT_CONTEXT = 384
SEASONS_IN_DEFAULT_CONTEXT = 7  # a week of days: the second season of most hourly data
DEFAULT_WINDOWS_PER_EPOCH = 16_384


def resolve_forecasting(config: ForecastingConfig, series: Mapping[str, Any]) -> ForecastingConfig:
    data, shortest, longest = config.data, int(series["min_length"]), int(series["max_length"])
    season = data.season_length or series.get("season_length") or 1
    origins = data.validation_windows + data.test_windows
    horizon = data.horizon or _default_horizon(data, season, int(series["median_length"]))
    step = data.window_step or horizon
    held_out = BackTest(horizon, step, data.validation_windows, data.test_windows).held_out
    if data.horizon and data.context_length and data.context_length + horizon > shortest:
        raise DataTooSmallError(
            f"context_length {data.context_length} + horizon {horizon} = "
            f"{data.context_length + horizon} timesteps are more than the shortest series has: "
            f"{shortest}"
        )
    # The end of a series is held out, another horizon is learned from, one value must be read.
    needed = held_out + horizon + 1
    available = shortest if data.horizon else longest
    if needed > available:
        held = f" with {origins} held-out origins {data.window_step or horizon} timesteps apart"
        raise DataTooSmallError(
            f"horizon {horizon}{held if origins > 1 else ''} needs series of at least {needed} "
            f"timesteps; the {'shortest' if data.horizon else 'longest'} has {available}"
        )
    if max(data.lags, default=0) >= longest:
        raise DataTooSmallError(
            f"lag {max(data.lags)} reaches beyond the longest series: it has {longest} timesteps"
        )
    context = data.context_length or _default_context(season, horizon, longest - held_out)
    if context + horizon > longest:
        raise DataTooSmallError(
            f"context_length {context} + horizon {horizon} = {context + horizon} timesteps are "
            f"more than the longest series has: {longest}"
        )
    windows = _most_windows(series, held_out + horizon)
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
                    "frequency": _frequency(data, series),
                    "static_columns": data.static_columns or _static_columns(data, series),
                }
            ),
        }
    )


def _frequency(data: ForecastingData, series: Mapping[str, Any]) -> str | None:
    """Raises ConfigError where the calendar cannot be read."""
    found = series.get("frequency") if data.frequency is None else data.frequency
    if found is not None and not is_frequency(found):
        found = None
    if data.calendar and not series.get("dates"):
        raise ConfigError("calendar needs a time column with dates, and the data set has none")
    if data.calendar and found is None:
        raise ConfigError(
            "calendar needs timesteps of one distance, and the times have none that is clear: "
            "give frequency, such as 1h"
        )
    return found


def _static_columns(data: ForecastingData, series: Mapping[str, Any]) -> list[StaticColumn] | None:
    if not data.static_covariates:
        return None
    found: list[StaticColumn] = series["static_columns"]
    return found


def _most_windows(series: Mapping[str, Any], unread: int) -> int:
    """Training windows that series of this profile hold at most: the number is used to refuse, and
    drawing more windows than there are only repeats some.

    A series of n timesteps, the last of which are left unread, has at most max(0, n - unread)
    windows: the held-out end, and the horizon of the last window before it. That is convex in n, so
    the line from the shortest to the longest series bounds it from above: exactly where all have
    windows, and where there are two lengths only.
    """
    shortest, longest = int(series["min_length"]), int(series["max_length"])
    in_shortest, in_longest = max(0, shortest - unread), longest - unread
    beyond_shortest = int(series["points"]) - shortest * int(series["series"])
    rise = (in_longest - in_shortest) * beyond_shortest // max(1, longest - shortest)
    return in_shortest * int(series["series"]) + rise


def _default_horizon(data: ForecastingData, season: int, median_length: int) -> int:
    """At most as much as leaves as much again to read and to learn from in half of the series."""
    wanted = min(2 * season, LONGEST_DEFAULT_HORIZON)
    if season == 1:
        wanted = DEFAULT_HORIZON_WITHOUT_SEASON
    more_origins = data.validation_windows + data.test_windows - 1
    if data.window_step is None:
        return max(1, min(wanted, (median_length - 1) // (3 + more_origins)))
    return max(1, min(wanted, (median_length - 1 - more_origins * data.window_step) // 3))


def _default_context(season: int, horizon: int, longest: int) -> int:
    """`longest`: timesteps before the held-out end of the longest series."""
    wanted = max(SEASONS_IN_DEFAULT_CONTEXT * season, 2 * horizon, SHORTEST_DEFAULT_CONTEXT)
    return max(1, min(wanted, LONGEST_DEFAULT_CONTEXT, longest - horizon))
