"""What a forecasting job's back-test, covariates and calendar ask of the data."""

from typing import Any

import pytest
import torch

from rnn.config import ForecastingConfig
from rnn.config.forecasting import StaticColumn
from rnn.determinism import Randomness
from rnn.errors import ConfigError, DataTooSmallError
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.windows import WindowShape
from rnn.resolve import parameter_count, resolve
from rnn.train import parameter_count as counted


def profile(
    shortest: int, longest: int | None = None, frequency: str | None = "1d", **more: Any
) -> dict[str, Any]:
    longest = longest or shortest
    return {
        "series": {
            "series": 2,
            "points": shortest + longest,
            "min_length": shortest,
            "median_length": (shortest + longest) // 2,
            "max_length": longest,
            "frequency": frequency,
            "season_length": 7,
            **more,
        }
    }


def resolved(found: dict[str, Any], **data: Any) -> ForecastingConfig:
    config = ForecastingConfig.model_validate({"task": "time-series-forecasting", "data": data})
    filled = resolve(config, found)
    assert isinstance(filled, ForecastingConfig)
    assert resolve(filled, found) == filled
    return filled


@pytest.mark.parametrize(
    "data",
    [
        {"validation_windows": 3},
        {"validation_windows": 2, "test_windows": 4},
        {"validation_windows": 5, "test_windows": 3, "window_step": 1},
        {"test_windows": 2, "window_step": 12},
    ],
)
@pytest.mark.parametrize("length", [40, 90, 700])
def test_the_default_horizon_leaves_room_for_the_back_test(
    data: dict[str, Any], length: int
) -> None:
    shape = WindowShape.of(resolved(profile(length), **data).data)
    assert shape.back_test.held_out + shape.horizon < length
    assert shape.context_length + shape.horizon + shape.back_test.held_out <= length


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        ({"horizon": 10, "validation_windows": 3}, ("3 held-out origins 10", "41", "40")),
        (
            {"horizon": 5, "validation_windows": 20, "test_windows": 10, "window_step": 1},
            ("30 held-out origins 1 ", "44", "40"),
        ),
        ({"horizon": 2, "lags": [7, 40]}, ("lag 40", "40 timesteps")),
    ],
)
def test_a_back_test_or_lag_that_does_not_fit(data: dict[str, Any], numbers: tuple[str]) -> None:
    with pytest.raises(DataTooSmallError) as caught:
        resolved(profile(40), **data)
    for number in numbers:
        assert number in str(caught.value)


def test_the_frequency_is_that_of_the_times_unless_it_is_given() -> None:
    assert resolved(profile(60)).data.frequency == "1d"
    assert resolved(profile(60), frequency="1h").data.frequency == "1h"
    assert resolved(profile(60, frequency="1234567s")).data.frequency is None


def test_the_calendar_is_off_unless_it_is_chosen() -> None:
    """A configuration that was stored before there was a choice stays as it was trained."""
    config = resolved(profile(60, dates=True))
    assert not config.data.calendar
    assert WindowShape.of(config.data).frequency is None
    chosen = resolved(profile(60, dates=True), calendar=True)
    assert WindowShape.of(chosen.data).frequency == "1d"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (profile(60), "needs a time column with dates"),
        (profile(60, dates=False), "needs a time column with dates"),
        (profile(60, frequency=None, dates=True), "give frequency"),
    ],
)
def test_the_calendar_needs_times(found: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolved(found, calendar=True)


def test_a_configuration_that_codes_other_columns_than_it_names_is_refused() -> None:
    with pytest.raises(ValueError, match="must be those of static_covariates"):
        resolved(
            profile(60),
            static_covariates=["kind"],
            static_columns=[{"column": "size", "words": None}],
        )


@pytest.mark.parametrize("decoding", ["direct", "recursive", "segments"])
def test_parameters_of_all_that_can_be_read(decoding: str) -> None:
    columns = [StaticColumn(column="kind", words=["a", "b", "c"]), StaticColumn(column="size")]
    found = profile(400, dates=True, static_columns=columns)
    config = ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"hidden_size": 5, "decoding": decoding},
            "data": {
                "past_covariates": ["w", "x"],
                "future_covariates": ["y"],
                "static_covariates": ["kind", "size"],
                "calendar": True,
                "age": True,
                "lags": [1, 7, 28],
                "scaling": "robust",
            },
        }
    )
    filled = resolve(config, found)
    assert isinstance(filled, ForecastingConfig)
    network = ForecastingNetwork(filled, Randomness(0, torch.device("cpu")))
    assert parameter_count(filled, found) == counted(network)
