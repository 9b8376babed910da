"""The rows of a data set that are to be predicted, a chunk at a time: memory holds no more.

A row is one text, or one series. Chunks are cut in the same places wherever reading begins, if it
begins at a cut: a batch that is gone on with computes the very numbers that it would have.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from rnn.forecasting.covariates import SeriesCovariates
from service.datasets.limits import Limits
from service.datasets.lines import Lines
from service.datasets.profile import format_of
from service.datasets.table import read_batches

Row = TypeVar("Row")
FloatArray = np.typing.NDArray[np.float64]

MOST_VALUES = 2_000_000  # of all series in a chunk
MOST_CHARACTERS = 4_000_000  # of all texts in a chunk


@dataclass(frozen=True)
class SeriesRow:
    """A series to go on, as a forecaster takes it."""

    name: str
    values: FloatArray
    covariates: SeriesCovariates

    @property
    def size(self) -> int:
        """Numbers in it."""
        beside = (*self.covariates.past.values(), *self.covariates.future.values())
        return len(self.values) + sum(map(len, beside))


@dataclass(frozen=True)
class Chunk(Generic[Row]):
    """Rows that are predicted together. `first` counts from 1."""

    first: int
    rows: list[Row]

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


def chunked(
    rows: Iterable[tuple[Row, int]], first: int, *, most_rows: int, most_size: int
) -> Iterator[Chunk[Row]]:
    """Gathers rows, each with its size; a chunk ends with the first limit that is reached."""
    held: list[Row] = []
    total = 0
    for row, size in rows:
        held.append(row)
        total += size
        if len(held) >= most_rows or total >= most_size:
            yield Chunk(first, held)
            first += len(held)
            held, total = [], 0
    if held:
        yield Chunk(first, held)


def read_texts(
    path: Path, profile: Mapping[str, Any], column: str | None, *, done: int
) -> Iterator[str | None]:
    """The cells of a column, null where nothing stands, or the lines of plain text, after those
    that are done."""
    cells = _lines(path) if column is None else _cells(path, profile, column)
    for _ in range(done):
        next(cells)
    yield from cells


def _lines(path: Path) -> Iterator[str | None]:
    limits = Limits()
    lines = Lines(path, limits.max_row_bytes)
    for line in lines:
        lines.row_bytes = 0
        yield line.rstrip("\r\n") or None


def _cells(path: Path, profile: Mapping[str, Any], column: str) -> Iterator[str | None]:
    for batch in read_batches(path, format_of(profile), Limits.none(), [column]):
        if column in batch.frame.columns:
            yield from batch.frame[column].to_list()
        else:  # JSON Lines: absent from all rows so far
            yield from [None] * len(batch.lines)
