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
    """The words of each static column of words, location and size of each one of numbers.

    `types` are those of the profile's columns. Raises ValidationError for too many words.
    """
    columns = []
    for place, name in enumerate(data.static_covariates):
        cells = [cell for row in table.static if (cell := row[place]) is not None]
        if types[name] == "number":
            numbers = np.array([float(cell) for cell in cells] or [0.0])
            scale = float(numbers.std())
            location = float(numbers.mean())
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
