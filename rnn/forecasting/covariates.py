"""What is known beside the values of a series: as a caller gives it, and as a network reads it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from rnn.config import ForecastingData
from rnn.config.forecasting import StaticColumn
from rnn.data.examples import SeriesExamples
from rnn.errors import InputMismatchError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SeriesCovariates:
    """What is known of one series that is to go on, by the names that the columns had in training.

    Attributes:
        past: float64 [T] each, beside the T values; NaN is a missing value.
        future: float64 [T + horizon] each: beside the values and on to the last timestep asked for.
        static: a number or a word; None is a missing value, and so is an unknown word.
        start: time of the first value in UTC.
    """

    past: Mapping[str, FloatArray] = field(default_factory=dict)
    future: Mapping[str, FloatArray] = field(default_factory=dict)
    static: Mapping[str, float | str | None] = field(default_factory=dict)
    start: datetime | None = None


def check_covariates(
    series: Sequence[FloatArray],
    covariates: Sequence[SeriesCovariates],
    data: ForecastingData,
    horizon: int,
) -> None:
    """Checks that the model gets all that it reads beside the series, and nothing else.

    Raises:
        InputMismatchError: naming the series and the covariate that is not there, that the model
            does not know, or that has another length or kind than it needs.
    """
    for index, (values, known) in enumerate(zip(series, covariates, strict=True)):
        length = len(values)
        _check_names(index, "past_covariates", known.past, data.past_covariates)
        _check_names(index, "future_covariates", known.future, data.future_covariates)
        _check_names(index, "static_covariates", known.static, data.static_covariates)
        _check_lengths(index, "past_covariates", known.past, length, "of the series")
        _check_lengths(
            index, "future_covariates", known.future, length + horizon, "of series and horizon"
        )
        for column in data.static_columns or ():
            if column.words is None and isinstance(known.static[column.column], str):
                place = ("static_covariates", index, column.column)
                message = f"{column.column!r} of static_covariates of series {index} is no number"
                raise InputMismatchError(message, place)
        if data.calendar and known.start is None:
            raise InputMismatchError(
                f"series {index} lacks its start: the model reads the calendar", ("start", index)
            )


def join_covariates(
    series: Sequence[FloatArray], covariates: Sequence[SeriesCovariates], data: ForecastingData
) -> SeriesExamples:
    """Series with what is known beside them, checked before, in the order of the model's names."""
    columns = data.static_columns or []
    static = [
        [_static_value(known.static[column.column], column) for column in columns]
        for known in covariates
    ]
    return SeriesExamples(
        [str(index) for index in range(len(series))],
        list(series),
        [known.start for known in covariates],
        data.frequency,
        [_side_by_side(known.past, data.past_covariates) for known in covariates]
        if data.past_covariates
        else None,
        [_side_by_side(known.future, data.future_covariates) for known in covariates]
        if data.future_covariates
        else None,
        np.array(static) if columns else None,
    )


def unknown_covariates(data: ForecastingData, timesteps: int, horizon: int) -> SeriesCovariates:
    """Covariates of a series of which nothing is known."""
    return SeriesCovariates(
        {name: np.full(timesteps, np.nan) for name in data.past_covariates},
        {name: np.full(timesteps + horizon, np.nan) for name in data.future_covariates},
        dict.fromkeys(data.static_covariates),
        datetime(1970, 1, 1, tzinfo=UTC),
    )


def _check_names(index: int, field: str, given: Mapping[str, object], wanted: list[str]) -> None:
    for name in wanted:
        if name not in given:
            message = f"series {index} lacks {name!r} of {field}, which the model reads"
            raise InputMismatchError(message, (field, index, name))
    for name in given:
        if name not in wanted:
            read = ", ".join(map(repr, wanted)) or "none"
            message = f"{name!r} is none of the model's {field}: {read}"
            raise InputMismatchError(message, (field, index, name))


def _check_lengths(
    index: int, field: str, given: Mapping[str, FloatArray], length: int, what: str
) -> None:
    for name, values in given.items():
        if len(values) != length:
            raise InputMismatchError(
                f"{name!r} of {field} of series {index} has {len(values)} values, and the "
                f"timesteps {what} are {length}",
                (field, index, name),
            )


def _side_by_side(given: Mapping[str, FloatArray], names: list[str]) -> FloatArray:
    return np.stack([given[name] for name in names], axis=1)


def _static_value(value: float | str | None, column: StaticColumn) -> float:
    """A number, or the place of a word among the known ones; NaN for what is not known."""
    if value is None:
        return math.nan
    if column.words is not None:
        word = value if isinstance(value, str) else _written(float(value))
        return column.words.index(word) if word in column.words else math.nan
    return float(value)


def _written(number: float) -> str:
    """A number as a table has it: a whole one without a point."""
    return str(int(number)) if number.is_integer() else repr(number)


def standardised(covariates_btn: FloatArray) -> FloatArray:
    """Each covariate of each window less its mean, in units of its standard deviation; NaN stays.

    By the window itself, as values are: the same change means the same at every level, and no unit
    has to be that of the training data. One that does not change in the window is 0.
    """
    if not covariates_btn.shape[2]:
        return covariates_btn
    observed_btn = ~np.isnan(covariates_btn)
    count_b1n = np.maximum(observed_btn.sum(axis=1, keepdims=True), 1)
    filled_btn = np.where(observed_btn, covariates_btn, 0.0)
    # Before anything is squared, so that no size of number overflows.
    largest_b1n = np.abs(filled_btn).max(axis=1, keepdims=True, initial=0.0)
    unit_btn = filled_btn / np.where(largest_b1n > 0, largest_b1n, 1.0)
    mean_b1n = unit_btn.sum(axis=1, keepdims=True) / count_b1n
    centred_btn = np.where(observed_btn, unit_btn - mean_b1n, 0.0)
    deviation_b1n = np.sqrt((centred_btn**2).sum(axis=1, keepdims=True) / count_b1n)
    usable_b1n = deviation_b1n > 1e-9  # rounding of the mean is far below, signal above
    scaled_btn = np.where(usable_b1n, centred_btn / np.where(usable_b1n, deviation_b1n, 1.0), 0.0)
    return np.where(observed_btn, scaled_btn, np.nan)


def static_features(static_bk: FloatArray, columns: Sequence[StaticColumn]) -> FloatArray:
    """[B, features]: a number and whether it is known; one flag for each word, none where the word
    was not there in training."""
    features = [np.zeros((len(static_bk), 0))]
    for place, column in enumerate(columns):
        value_b1 = static_bk[:, place : place + 1]
        if column.words is None:
            scaled_b1 = (value_b1 - column.location) / column.scale
            features += [np.nan_to_num(scaled_b1), ~np.isnan(value_b1)]
        else:
            features.append(value_b1 == np.arange(len(column.words)))
    return np.concatenate(features, axis=1)
