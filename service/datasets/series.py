"""Numeric series out of a table: read, put in order of time, described.

Long form: a row is one timestep, of one series or, with a series column, of many; several target
columns make as many series of each. Wide form (JSON Lines): a row is one series, its values a list.
Covariates stand beside the values, in either form. Missing values stay missing (NaN); timesteps
that are absent altogether are counted as gaps and not filled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.datasets.batches import Batch
from service.datasets.lengths import length_bars
from service.datasets.names import first_named
from service.datasets.places import Place, shown, wrong
from service.datasets.seasons import find_season
from service.datasets.times import (
    frequency,
    from_microseconds,
    number_to_microseconds,
    parse,
    season_of,
)
from service.errors import DatasetUnparseableError

SHARED = 0.7  # distinct times among all, at most, in a panel
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class SeriesRoles:
    """Which columns hold what. `target` is None where a file has several that could be it, and
    where `targets` says that several are: they are then series of their own."""

    target: str | None
    time: str | None
    series: str | None
    time_format: str | None = None  # None: the time column holds numbers
    wide: bool = False
    targets: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        one = [name for name in (self.target, self.time, self.series) if name is not None]
        return [*one, *self.targets, *self.beside]

    @property
    def beside(self) -> list[str]:
        return [*self.past, *self.future, *self.static]


@dataclass(frozen=True)
class SeriesTable:
    """All series of a file. `times` (microseconds, or plain numbers) is None without a column.

    `past` and `future` are [T, covariates] for each series; `static` holds for each the cells of
    its static columns as they are written.
    """

    ids: list[str]
    values: list[Floats]
    times: list[Integers] | None
    times_are_dates: bool
    past: list[Floats] = field(default_factory=list)
    future: list[Floats] = field(default_factory=list)
    static: list[list[str | None]] = field(default_factory=list)

    @property
    def shares_times(self) -> bool:
        """Whether many times stand in more than one series, as in a panel of series."""
        if self.times is None:
            return False
        times = np.concatenate(self.times)
        return len(np.unique(times)) <= SHARED * len(times)

    @property
    def starts(self) -> list[datetime | None]:
        if self.times is None or not self.times_are_dates:
            return [None] * len(self.ids)
        return [from_microseconds(int(times[0])) for times in self.times]


def read_series(batches: Iterable[Batch], roles: SeriesRoles) -> SeriesTable:
    """Gathers the series, each sorted by time, in order of their first appearance.

    Raises `DatasetUnparseableError` naming the row for a time that is missing or that stands twice
    in one series, for a series without values, for a covariate of another length than its series
    and a static one that changes within it.
    """
    return _read_wide(batches, roles) if roles.wide else _read_long(batches, roles)


def _read_wide(batches: Iterable[Batch], roles: SeriesRoles) -> SeriesTable:
    assert roles.target is not None
    ids: list[str] = []
    values: list[Floats] = []
    starts: list[Integers] = []
    past: list[Floats] = []
    future: list[Floats] = []
    static: list[list[str | None]] = []
    seen: dict[str, int] = {}
    for batch in batches:
        targets = _column(batch, roles.target)
        names = _column(batch, roles.series) if roles.series else None
        times = _times(batch, roles) if roles.time else None
        for index, cell in enumerate(targets):
            place = batch.place(index, roles.target)
            series = None if cell is None else _list_values(cell)
            if series is None or not np.isfinite(series).any():
                raise wrong(DatasetUnparseableError, place, "the series holds no value")
            name = str(place.row) if names is None else names[index]
            if name is None:
                raise _missing(batch, index, roles.series)
            if name in seen:
                message = f"the series {shown(name)} stands on row {seen[name]} already"
                raise wrong(DatasetUnparseableError, batch.place(index, roles.series), message)
            seen[name] = place.row
            ids.append(name)
            values.append(series)
            past.append(_lists(batch, index, roles.past, len(series)))
            future.append(_lists(batch, index, roles.future, len(series)))
            static.append([_column(batch, column)[index] for column in roles.static])
            if times is not None:
                starts.append(times[index : index + 1])
    return SeriesTable(
        ids, values, starts or None, times_are_dates=True, past=past, future=future, static=static
    )


def _lists(batch: Batch, index: int, columns: Sequence[str], length: int) -> Floats:
    """[length, columns] of one row's lists; a list that is not there is missing throughout."""
    found = np.full((length, len(columns)), np.nan)
    for number, column in enumerate(columns):
        cell = _column(batch, column)[index]
        if cell is None:
            continue
        if len(cell) != length:
            message = f"the list has {len(cell)} values, and its series has {length}"
            raise wrong(DatasetUnparseableError, batch.place(index, column), message)
        found[:, number] = _list_values(cell)
    return found


def _list_values(cell: pl.Series) -> Floats:
    return cell.cast(pl.Float64).to_numpy().astype(np.float64)


@dataclass(frozen=True)
class LongRows:
    """Rows of the long form as numbers, in the order of the file.

    Attributes:
        groups: place of each row's series among the ids.
        values: [rows, columns] targets, past, then future covariates; NaN where a cell is empty.
        times: as the file has them, before `LongReader.time_scale`; None without a column.
        lines: of the file, to be named in an error; only with times.
        rows: numbers of the rows, likewise; None: they are all of the file.
    """

    groups: Integers
    values: Floats
    times: Integers | None
    lines: Integers | None
    rows: Integers | None = None


class LongReader:
    """Reads batches as numbers; keeps what it has seen of ids, static covariates and times."""

    def __init__(self, roles: SeriesRoles) -> None:
        self.codes: dict[str, int] = {} if roles.series else {"1": 0}
        self.static = _StaticCells(roles.static)
        self._roles = roles
        targets = roles.targets or ((roles.target,) if roles.target else ())
        self._columns = [*targets, *roles.past, *roles.future]
        self._times: list[int] = []  # the earliest and the latest

    @property
    def time_scale(self) -> int | None:
        """What makes the times microseconds since 1970; None: they are plain numbers, or none."""
        if self._roles.time_format is not None:
            return 1
        return number_to_microseconds(np.array(self._times)) if self._times else None

    def read(self, batch: Batch) -> LongRows:
        groups = self.groups(batch)
        values = _table(batch, self._columns)
        if not self._roles.time:
            return LongRows(groups, values, None, None)
        times = _times(batch, self._roles)
        seen = [*self._times, int(times.min()), int(times.max())]
        self._times = [min(seen), max(seen)]
        return LongRows(groups, values, times, np.array(batch.lines, dtype=np.int64))

    def groups(self, batch: Batch) -> Integers:
        """Of each row the place of its series; takes the static covariates along."""
        roles = self._roles
        groups = np.zeros(len(batch.lines), dtype=np.int64)
        if roles.series:
            groups = _codes(batch, roles.series, self.codes)
        self.static.add(batch, groups)
        return groups


def _read_long(batches: Iterable[Batch], roles: SeriesRoles) -> SeriesTable:
    reader = LongReader(roles)
    parts = [reader.read(batch) for batch in batches]
    rows = LongRows(
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.values for part in parts]),
        _joined([part.times for part in parts]),
        _joined([part.lines for part in parts]),
    )
    del parts
    ids = list(reader.codes)
    static = reader.static.of_series(range(len(ids)))
    return assemble(rows, ids, static, roles, time_scale=reader.time_scale)


def _joined(parts: Sequence[Integers | None]) -> Integers | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if there else None


def assemble(
    found: LongRows,
    ids: list[str],
    static: list[list[str | None]],
    roles: SeriesRoles,
    *,
    time_scale: int | None,
) -> SeriesTable:
    """The series of rows, each of which is of one of `ids`; raises as `read_series` does."""
    groups, values, times = found.groups, found.values, found.times
    # Stable, so rows without a time column keep the order of the file.
    order = np.argsort(groups, kind="stable") if times is None else np.lexsort((times, groups))
    groups, values = groups[order], values[order]
    if times is not None:
        times = times[order]
        twice = (np.diff(groups) == 0) & (np.diff(times) == 0)
        if twice.any():
            raise _twice(order, twice, found, ids, roles)
        times *= time_scale or 1
    cuts = np.flatnonzero(np.diff(groups)) + 1
    targets = len(roles.targets) or (1 if roles.target else 0)
    target_values, past, future = np.split(values, [targets, targets + len(roles.past)], axis=1)
    if not targets:
        target_values = np.full((len(values), 1), np.nan)
    each = np.split(target_values, cuts)
    table = SeriesTable(
        ids,
        [series[:, 0].copy() for series in each],
        None if times is None else np.split(times, cuts),
        times_are_dates=time_scale is not None,
        past=np.split(past, cuts),
        future=np.split(future, cuts),
        static=static,
    )
    return _of_each_target(table, roles, each) if roles.targets else table


def _of_each_target(table: SeriesTable, roles: SeriesRoles, each: list[Floats]) -> SeriesTable:
    """One series of each target column [T, targets] of each series: named after its column, with
    the series' name before it where there are several."""
    count = len(roles.targets)
    repeated = np.repeat(np.arange(len(table.ids)), count)
    return SeriesTable(
        [
            name if roles.series is None else f"{series}.{name}"
            for series in table.ids
            for name in roles.targets
        ],
        [values[:, number].copy() for values in each for number in range(count)],
        None if table.times is None else [table.times[index] for index in repeated],
        times_are_dates=table.times_are_dates,
        past=[table.past[index] for index in repeated],
        future=[table.future[index] for index in repeated],
        static=[table.static[index] for index in repeated],
    )


class _StaticCells:
    """The one value that each series has in each static column."""

    def __init__(self, columns: Sequence[str]) -> None:
        # Of each column by the number of the series: the cell, and the row that it stands on.
        self._found: dict[str, dict[int, tuple[str, int]]] = {column: {} for column in columns}

    def add(self, batch: Batch, codes: Integers) -> None:
        for column, found in self._found.items():
            frame = pl.DataFrame({"code": codes, "cell": _column(batch, column)}).with_row_index()
            different = frame.drop_nulls().unique(["code", "cell"], keep="first")
            for index, code, cell in different.sort("index").iter_rows():
                place = batch.place(index, column)
                value, row = found.setdefault(code, (cell, place.row))
                if value != cell:
                    message = (
                        f"{shown(cell)}, and row {row} of the same series says {shown(value)}: a "
                        "static covariate has one value a series"
                    )
                    raise wrong(DatasetUnparseableError, place, message)

    def of_series(self, numbers: Iterable[int]) -> list[list[str | None]]:
        """Of each series the cells in the order of the columns; None where all were empty."""
        return [
            [found[number][0] if number in found else None for found in self._found.values()]
            for number in numbers
        ]


def _twice(
    order: Integers,
    twice: NDArray[np.bool_],
    found: LongRows,
    ids: list[str],
    roles: SeriesRoles,
) -> Exception:
    """The error for the second row, in the file's order, of a time that stands twice."""
    assert found.lines is not None
    numbers = np.arange(1, len(order) + 1) if found.rows is None else found.rows
    pairs = np.flatnonzero(twice)
    later = np.maximum(order[pairs], order[pairs + 1])
    first = int(later.argmin())
    row = int(later[first])
    other = int(min(order[pairs[first]], order[pairs[first] + 1]))
    of = f" of series {shown(ids[int(found.groups[row])])}" if roles.series else ""
    hint = "" if roles.series else "; name the column of the series' ids series_id if there is one"
    return wrong(
        DatasetUnparseableError,
        Place(int(numbers[row]), int(found.lines[row]), roles.time),
        f"the same time stands on row {int(numbers[other])}{of}{hint}",
    )


def _column(batch: Batch, name: str) -> pl.Series:
    """A column, all null where this batch of JSON Lines has not seen it yet."""
    if name in batch.frame.columns:
        return batch.frame[name]
    return pl.Series(name, [None] * len(batch.lines), dtype=pl.String)


def _codes(batch: Batch, name: str, codes: dict[str, int]) -> Integers:
    """Numbers the ids in order of appearance; `codes` grows."""
    cells = _column(batch, name)
    if cells.null_count():
        raise _missing(batch, cells.is_null().arg_true()[0], name)
    distinct = cells.unique(maintain_order=True).to_list()
    for value in distinct:
        codes.setdefault(value, len(codes))
    numbers = cells.replace_strict(distinct, [codes[value] for value in distinct])
    return numbers.cast(pl.Int64).to_numpy()


def _times(batch: Batch, roles: SeriesRoles) -> Integers:
    assert roles.time is not None
    cells = _column(batch, roles.time)
    if roles.time_format is None:
        times = cells.str.strip_chars().cast(pl.Float64, strict=False)
        bad = times.is_null() | (times != times.floor()) | (times.abs() > 2**53)
        times = times.cast(pl.Int64, strict=False)
    else:
        times = parse(cells, roles.time_format)
        bad = times.is_null()
    if bad.any():
        index = bad.arg_true()[0]
        if cells[index] is None:
            raise _missing(batch, index, roles.time)
        form = roles.time_format or "a whole number"
        message = f"{shown(cells[index])} is not a time of the form {form}"
        raise wrong(DatasetUnparseableError, batch.place(index, roles.time), message)
    return times.to_numpy().astype(np.int64)


def _table(batch: Batch, names: Sequence[str]) -> Floats:
    """[rows, names] numbers, NaN where a cell is empty."""
    table = np.empty((len(batch.lines), len(names)))
    for number, name in enumerate(names):
        cells = _column(batch, name)
        table[:, number] = cells.str.strip_chars().cast(pl.Float64, strict=False).to_numpy()
    return table


def _missing(batch: Batch, index: int, column: str | None) -> Exception:
    return wrong(DatasetUnparseableError, batch.place(index, column), "the cell is empty")


def describe(table: SeriesTable, roles: SeriesRoles) -> dict[str, Any]:
    """The part `series` of a profile."""
    lengths = np.array([len(series) for series in table.values])
    missing = sum(int(np.isnan(series).sum()) for series in table.values)
    name: str | None = None
    gaps = 0
    if table.times is not None and not roles.wide:
        if table.times_are_dates:
            name, gaps = frequency(table.times)
        elif roles.time is not None and first_named(("year",), [roles.time]):
            name = "1y"
    season = season_of(name)
    has_target = roles.target is not None or bool(roles.targets)
    if season is None and has_target:
        season = find_season(table.values)
    return {
        "series": len(table.ids),
        "points": int(lengths.sum()),
        "min_length": int(lengths.min()),
        "median_length": int(np.median(lengths)),
        "max_length": int(lengths.max()),
        "lengths": [
            {"min_length": least, "max_length": most, "series": count}
            for least, most, count in length_bars(lengths)
        ],
        "frequency": name,
        "season_length": season,
        "gaps": gaps,
        "missing": missing if has_target else 0,
        "target_column": roles.target,
        "time_column": roles.time,
        "series_column": roles.series,
        "wide": roles.wide,
    }
