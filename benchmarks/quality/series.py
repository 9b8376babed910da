"""Forecasting sets: what is uploaded, and what the answers are judged against.

Long series are uploaded whole, and the job holds out their validation and test parts by forecast
origins; of M4 the test part is not uploaded, and its forecasts are asked for.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import data as files
from benchmarks.quality.figures import Floats, seasonal_naive
from benchmarks.service import json_lines

M4_SEASON, M4_HORIZON = 24, 48
# Where the training and the validation part end, in timesteps.
ETTH1_TRAIN, ETTH1_VALIDATION, ETTH1_TEST = 8_640, 11_520, 14_400
EXCHANGE_TRAIN, EXCHANGE_VALIDATION, EXCHANGE_TEST = 5_311, 6_071, 7_588


@dataclass(frozen=True)
class LongSeries:
    """Few long series with official borders, standardised by their training part.

    Attributes:
        values: [timesteps, series], up to the end of the test part.
        train_end, validation_end: the borders, in timesteps.
        season: of the naive forecast; 1: the last value.
    """

    names: list[str]
    values: Floats
    train_end: int
    validation_end: int
    season: int

    def upload(self) -> bytes:
        """A row for each series."""
        return json_lines(
            [
                {"id": name, "target": values.tolist()}
                for name, values in zip(self.names, self.values.T.round(6), strict=True)
            ]
        )

    def test_windows(self, horizon: int, context: int) -> tuple[list[Floats], Floats]:
        """The last `context` values before each origin of the test part, and the truth
        [windows * series, horizon]; origins are one timestep apart."""
        origins = range(self.validation_end, len(self.values) - horizon + 1)
        known, truth = [], []
        for values in self.values.T:
            known += [values[origin - context : origin] for origin in origins]
            truth += [values[origin : origin + horizon] for origin in origins]
        return known, np.stack(truth)

    def naive(self, known: list[Floats], horizon: int) -> Floats:
        """The forecast that everybody has to beat [windows * series, horizon]."""
        return seasonal_naive(known, self.season, horizon)


def etth1(data: Path) -> LongSeries:
    """Electricity transformer temperature, hourly, seven variables; the borders of Informer (Zhou
    et al. 2021): twelve, four and four months of 30 days."""
    rows = list(csv.reader(io.StringIO(files.read_packed(data / "ett" / "ETTh1.csv.gz"))))
    table = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])
    return _standardised(rows[0][1:], table[:ETTH1_TEST], ETTH1_TRAIN, ETTH1_VALIDATION, 24)


def exchange_rate(data: Path) -> LongSeries:
    """Daily rates of eight currencies, 70, 10 and 20 % (Lai et al. 2018)."""
    text = files.read_packed(data / "exchange_rate" / "exchange_rate.txt.gz")
    table = np.array([[float(cell) for cell in line.split(",")] for line in text.splitlines()])
    names = [f"currency-{number}" for number in range(1, table.shape[1] + 1)]
    return _standardised(names, table, EXCHANGE_TRAIN, EXCHANGE_VALIDATION, 1)


def _standardised(
    names: list[str], table: Floats, train_end: int, validation_end: int, season: int
) -> LongSeries:
    known = table[:train_end]
    values = (table - known.mean(axis=0)) / known.std(axis=0)
    return LongSeries(names, values, train_end, validation_end, season)


def m4_hourly(data: Path) -> tuple[dict[str, Floats], Floats]:
    """The training part of each series, and the test part [series, horizon]."""
    train, test = files.m4_hourly(data, "train"), files.m4_hourly(data, "test")
    known = {name: np.array(values) for name, values in train.items()}
    return known, np.array([test[name] for name in train])


def m4_upload(data: Path) -> bytes:
    """The training parts, a row for each series."""
    known, _ = m4_hourly(data)
    return json_lines([{"id": name, "target": values.tolist()} for name, values in known.items()])
