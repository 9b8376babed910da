"""What a caller gives beside its series, and what of it does not fit the model."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from rnn.config import ForecastingData
from rnn.config.forecasting import StaticColumn
from rnn.errors import InputMismatchError
from rnn.forecasting.covariates import (
    SeriesCovariates,
    check_covariates,
    join_covariates,
    unknown_covariates,
)

DATA = ForecastingData(
    past_covariates=["wind", "rain"],
    future_covariates=["holiday"],
    static_covariates=["kind", "size"],
    static_columns=[
        StaticColumn(column="kind", words=["1", "new", "old", "1234567", "0.12345678"]),
        StaticColumn(column="size", location=3.0, scale=2.0),
    ],
    frequency="1d",
    calendar=True,
)
SERIES = [np.arange(3.0), np.arange(2.0)]
GOOD = [
    SeriesCovariates(
        {"rain": np.full(length, 5.0), "wind": np.full(length, 4.0)},
        {"holiday": np.arange(length + 2.0)},
        {"kind": "old", "size": 7},
        datetime(2024, 1, 1, tzinfo=UTC),
    )
    for length in (3, 2)
]


def test_covariates_are_put_in_the_order_of_the_model() -> None:
    check_covariates(SERIES, GOOD, DATA, horizon=2)
    examples = join_covariates(SERIES, GOOD, DATA)
    assert examples.past_covariates is not None
    assert examples.past_covariates[0].tolist() == [[4, 5]] * 3
    assert examples.future_covariates is not None
    assert examples.future_covariates[1].tolist() == [[0], [1], [2], [3]]
    np.testing.assert_array_equal(examples.static_covariates, [[2, 7], [2, 7]])  # type: ignore[arg-type]
    assert (examples.starts[0], examples.frequency) == (GOOD[0].start, "1d")


@pytest.mark.parametrize(
    ("static", "values"),
    [
        ({"kind": "strange", "size": None}, [np.nan, np.nan]),
        ({"kind": 1, "size": 2.5}, [0, 2.5]),
        ({"kind": None, "size": 0}, [np.nan, 0]),
        ({"kind": 1234567.0, "size": 0}, [3, 0]),
        ({"kind": 0.12345678, "size": 0}, [4, 0]),
    ],
)
def test_static_values(static: dict[str, Any], values: list[float]) -> None:
    given = [replace(GOOD[0], static=static)]
    check_covariates(SERIES[:1], given, DATA, horizon=2)
    examples = join_covariates(SERIES[:1], given, DATA)
    np.testing.assert_array_equal(examples.static_covariates, [values])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "location", "message"),
    [
        ({"past": {"rain": np.zeros(2)}}, ("past_covariates", 1, "wind"), "series 1 lacks 'wind'"),
        ({"future": {}}, ("future_covariates", 1, "holiday"), "lacks 'holiday'"),
        ({"static": {"kind": "new"}}, ("static_covariates", 1, "size"), "lacks 'size'"),
        ({"start": None}, ("start", 1), "series 1 lacks its start"),
        (
            {"past": {"rain": np.zeros(2), "wind": np.zeros(3)}},
            ("past_covariates", 1, "wind"),
            "of series 1 has 3 values, and the timesteps of the series are 2",
        ),
        (
            {"future": {"holiday": np.zeros(2)}},
            ("future_covariates", 1, "holiday"),
            "has 2 values, and the timesteps of series and horizon are 4",
        ),
        (
            {"past": {**GOOD[1].past, "snow": np.zeros(2)}},
            ("past_covariates", 1, "snow"),
            "none of the model's past_covariates: 'wind', 'rain'",
        ),
        (
            {"static": {"kind": "new", "size": "big"}},
            ("static_covariates", 1, "size"),
            "is no number",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    change: dict[str, Any], location: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputMismatchError, match=message) as caught:
        check_covariates(SERIES, [GOOD[0], replace(GOOD[1], **change)], DATA, horizon=2)
    assert caught.value.location == location


def test_a_series_of_which_nothing_is_known_fits_every_model() -> None:
    nothing = unknown_covariates(DATA, timesteps=3, horizon=2)
    check_covariates(SERIES[:1], [nothing], DATA, horizon=2)
    examples = join_covariates(SERIES[:1], [nothing], DATA)
    assert examples.static_covariates is not None
    assert np.isnan(examples.static_covariates).all()
