"""Reads the series of a data set one after the other, in the order of their first appearance.

In the wide form a row of the file is a series. In the long form the rows of a series may stand
anywhere: they are counted in a first pass over the file and gathered on disk in a second one, in
bundles of whole series, so that memory holds one bundle and what is kept of each series' name.
Where the columns are the series, some of them are read at a time.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn.config import ForecastingConfig
from rnn.forecasting.covariates import SeriesCovariates
from service.batches.rows import SeriesRow
from service.datasets.batches import Batch
from service.datasets.limits import Limits
from service.datasets.profile import format_of
from service.datasets.roles import series_roles
from service.datasets.series import (
    LongReader,
    LongRows,
    SeriesTable,
    assemble,
    read_series,
)
from service.datasets.table import read_batches
from service.datasets.timesteps import as_job_reads, read_job_series

Integers = NDArray[np.int64]
BUNDLE_NUMBERS = 10_000_000  # in memory at once; a longer series is a bundle of its own
ROW_NUMBERS = 4  # of each row, beside its values


class SeriesSource:
    """The series of a validated file whose columns a configuration names.

    Args:
        horizon: timesteps that are asked for: so far future covariates are read.
        folder: what does not fit into memory is put into a folder in it, and removed again.

    Attributes:
        total: how many series there are.
    """

    def __init__(
        self,
        path: Path,
        profile: Mapping[str, Any],
        config: ForecastingConfig,
        *,
        horizon: int,
        folder: Path,
    ) -> None:
        self._path = path
        self._profile = profile
        self._data = config.data
        self._horizon = horizon
        self._folder = folder
        self._roles = series_roles(config, profile)
        self._reader = LongReader(self._roles)
        self._counts = np.zeros(0, dtype=np.int64)  # of each series: its rows
        if self._roles.wide:
            self.total: int = profile["rows"]
        else:
            self._count()
            self.total = max(1, len(self._counts)) * self._targets

    def rows(self, done: int) -> Iterator[SeriesRow]:
        """All series but the first `done`.

        Raises DatasetUnparseableError naming the row for what is no series of these columns, and
        ValidationError for gaps that are too long to be filled.
        """
        if done >= self.total:
            return
        for first, table in self._tables(done):
            for number, row in enumerate(self._table_rows(table), first):
                if number > done:
                    yield row

    @property
    def _targets(self) -> int:
        """Series that are made of one in the file."""
        return len(self._roles.targets) or 1

    @property
    def _width(self) -> int:
        """Values in a row of the file."""
        return self._targets + len(self._roles.past) + len(self._roles.future)

    def _tables(self, done: int) -> Iterator[tuple[int, SeriesTable]]:
        """Some series at a time with the number of the first; not all of those that are done."""
        if self._roles.wide:
            yield from self._wide(done)
        elif self._roles.series is None:
            yield from self._columns(done)
        else:
            yield from self._bundles(done)

    def _batches(self, columns: list[str]) -> Iterator[Batch]:
        return read_batches(self._path, format_of(self._profile), Limits.none(), columns)

    def _wide(self, done: int) -> Iterator[tuple[int, SeriesTable]]:
        for batch in self._batches(self._roles.columns):
            if batch.first_row + len(batch.lines) > done + 1:
                table = read_series([batch], self._roles)
                yield batch.first_row, as_job_reads(table, self._roles, self._data)

    def _columns(self, done: int) -> Iterator[tuple[int, SeriesTable]]:
        """The file as one series, or as one of each target column."""
        most = max(1, BUNDLE_NUMBERS // self._profile["rows"])
        for first in range(done // most * most, self._targets, most):
            roles = replace(self._roles, targets=self._roles.targets[first : first + most])
            yield first + 1, read_job_series(self._batches(roles.columns), roles, self._data)

    def _count(self) -> None:
        if self._roles.series is None:
            return
        for batch in self._batches([self._roles.series, *self._roles.static]):
            groups = self._reader.groups(batch)
            added = np.bincount(groups, minlength=len(self._reader.codes))
            added[: len(self._counts)] += self._counts
            self._counts = added

    def _bundles(self, done: int) -> Iterator[tuple[int, SeriesTable]]:
        before = np.cumsum(self._counts) - self._counts
        bundle_of = before // max(1, BUNDLE_NUMBERS // (ROW_NUMBERS + self._width))
        first_bundle = int(bundle_of[done // self._targets])
        names = list(self._reader.codes)
        with tempfile.TemporaryDirectory(prefix=".series-", dir=self._folder) as folder:
            spill = _Spill(Path(folder), bundle_of, self._width, timed=self._roles.time is not None)
            for batch in self._batches(self._roles.columns):
                spill.add(self._reader.read(batch), batch.first_row, first_bundle)
            for bundle in np.unique(bundle_of[bundle_of >= first_bundle]):
                low, high = np.searchsorted(bundle_of, [bundle, bundle + 1])
                table = assemble(
                    spill.take(int(bundle), int(low)),
                    names[low:high],
                    self._reader.static.of_series(range(low, high)),
                    self._roles,
                    time_scale=self._reader.time_scale,
                )
                yield int(low) * self._targets + 1, as_job_reads(table, self._roles, self._data)

    def _table_rows(self, table: SeriesTable) -> Iterator[SeriesRow]:
        data, starts = self._data, table.starts
        for place, (name, values) in enumerate(zip(table.ids, table.values, strict=True)):
            known, asked = len(values), len(values) + self._horizon
            past = {
                column: table.past[place][:known, number]
                for number, column in enumerate(data.past_covariates)
            }
            future = {
                column: table.future[place][:asked, number]
                for number, column in enumerate(data.future_covariates)
            }
            cells = zip(data.static_columns or (), table.static[place], strict=True)
            static = {
                column.column: cell if column.words is not None else _number(cell)
                for column, cell in cells
            }
            yield SeriesRow(name, values, SeriesCovariates(past, future, static, starts[place]))


class _Spill:
    """Rows of the long form on disk, one file a bundle."""

    def __init__(self, folder: Path, bundle_of: Integers, width: int, *, timed: bool) -> None:
        self._folder = folder
        self._bundle_of = bundle_of
        self._timed = timed
        numbers = [(name, np.int64) for name in ("group", "row", "line", "time")]
        self._record = np.dtype([*numbers, ("values", np.float64, (width,))])

    def add(self, found: LongRows, first_row: int, first_bundle: int) -> None:
        """Appends rows, of which the first in the file has this number, from a bundle on."""
        records = np.empty(len(found.groups), dtype=self._record)
        records["group"] = found.groups
        records["row"] = np.arange(first_row, first_row + len(records))
        records["line"] = 0 if found.lines is None else found.lines
        records["time"] = 0 if found.times is None else found.times
        records["values"] = found.values
        bundles = self._bundle_of[found.groups]
        for bundle in np.unique(bundles[bundles >= first_bundle]):
            with self._file(int(bundle)).open("ab") as file:
                records[bundles == bundle].tofile(file)

    def take(self, bundle: int, first_group: int) -> LongRows:
        """The rows of a bundle, whose first series becomes number 0; its file is removed."""
        path = self._file(bundle)
        records = np.fromfile(path, dtype=self._record)
        path.unlink()
        return LongRows(
            records["group"] - first_group,
            records["values"],
            records["time"] if self._timed else None,
            records["line"] if self._timed else None,
            records["row"],
        )

    def _file(self, bundle: int) -> Path:
        return self._folder / f"{bundle}.rows"


def _number(cell: str | None) -> float | str | None:
    """A text where it is no number: the model's reader says so."""
    if cell is None:
        return None
    try:
        return float(cell)
    except ValueError:
        return cell
