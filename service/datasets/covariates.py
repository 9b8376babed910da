"""Covariates of the series of a table: what a static column may hold, and how it is coded."""

import math

import numpy as np
from numpy.typing import NDArray

from rnn.config.forecasting import MOST_STATIC_WORDS, ForecastingData, StaticColumn
from service.datasets.places import shown
from service.datasets.roles import refused
from service.datasets.series import SeriesTable

Floats = NDArray[np.float64]


def code_static_columns(
    table: SeriesTable, data: ForecastingData, types: dict[str, str]
) -> list[StaticColumn]:
    """The words of each static column of words, location and size of each one of numbers; or as
    the configuration says.

    `types` are those of the profile's columns. Raises ValidationError for too many words, for
    numbers that are too large, and for a given coding that does not fit its column.
    """
    if data.static_columns is not None:
        for place, given in enumerate(data.static_columns):
            _check_given(given, types[given.column], place)
        return data.static_columns
    columns = []
    for place, name in enumerate(data.static_covariates):
        cells = [cell for row in table.static if (cell := row[place]) is not None]
        if types[name] == "number":
            numbers = np.array([float(cell) for cell in cells] or [0.0])
            with np.errstate(over="ignore", invalid="ignore"):
                scale, location = float(numbers.std()), float(numbers.mean())
            if not (math.isfinite(scale) and math.isfinite(location)):
                message = f"{shown(name)} holds numbers too large for their spread to be computed"
                raise refused("static_covariates", message, place)
            columns.append(StaticColumn(column=name, location=location, scale=scale or 1.0))
            continue
        words = sorted(set(cells))
        if len(words) > MOST_STATIC_WORDS:
            message = (
                f"{shown(name)} holds {len(words)} different words; {MOST_STATIC_WORDS} are allowed"
            )
            raise refused("static_covariates", message, place)
        columns.append(StaticColumn(column=name, words=words))
    return columns


def _check_given(column: StaticColumn, type_: str, place: int) -> None:
    """Words may also be those of numbers that stand for kinds; nothing else reads as a number."""
    if column.words is None and type_ != "number":
        message = (
            f"codes {shown(column.column)} as a number, and it holds {type_}: that needs words"
        )
        raise refused("static_columns", message, place)
    words = column.words or []
    for number, word in enumerate(words):
        if word in words[:number]:
            message = f"names {shown(word)} twice among the words of {shown(column.column)}"
            raise refused("static_columns", message, place)


def static_values(table: SeriesTable, columns: list[StaticColumn]) -> Floats:
    """[S, K] of each series the number, or the place among the column's words; NaN: not known."""
    places = [
        None if column.words is None else {word: i for i, word in enumerate(column.words)}
        for column in columns
    ]
    values = np.full((len(table.ids), len(columns)), math.nan)
    for series, row in enumerate(table.static):
        for number, (cell, place) in enumerate(zip(row, places, strict=True)):
            if cell is not None:
                values[series, number] = float(cell) if place is None else place.get(cell, math.nan)
    return values
