"""Numeric series out of a table: read, put in order of time, described.

Long form: a row is one timestep, of one series or, with a series column, of many. Wide form (JSON
Lines): a row is one series, its values a list. Missing values stay missing (NaN); timesteps that
are absent altogether are counted as gaps and not filled.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.datasets.batches import Batch
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
    """Which columns hold what. `target` is None where a file has several that could be it."""

    target: str | None
    time: str | None
    series: str | None
    time_format: str | None = None  # None: the time column holds numbers
    wide: bool = False

    @property
    def columns(self) -> list[str]:
        return [name for name in (self.target, self.time, self.series) if name is not None]


@dataclass(frozen=True)
class SeriesTable:
    """All series of a file. `times` (microseconds, or plain numbers) is None without a column."""

    ids: list[str]
    values: list[Floats]
    times: list[Integers] | None
    times_are_dates: bool

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
    in one series, and for a series without values.
    """
    return _read_wide(batches, roles) if roles.wide else _read_long(batches, roles)


def _read_wide(batches: Iterable[Batch], roles: SeriesRoles) -> SeriesTable:
    assert roles.target is not None
    ids: list[str] = []
    values: list[Floats] = []
    starts: list[Integers] = []
    seen: dict[str, int] = {}
    for batch in batches:
        targets = _column(batch, roles.target)
        names = _column(batch, roles.series) if roles.series else None
        times = _times(batch, roles) if roles.time else None
        for index, cell in enumerate(targets):
            place = batch.place(index, roles.target)
            series = None if cell is None else cell.cast(pl.Float64).to_numpy().astype(np.float64)
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
            if times is not None:
                starts.append(times[index : index + 1])
    return SeriesTable(ids, values, starts or None, times_are_dates=True)


def _read_long(batches: Iterable[Batch], roles: SeriesRoles) -> SeriesTable:
    codes: dict[str, int] = {}
    code_parts: list[Integers] = []
    time_parts: list[Integers] = []
    value_parts: list[Floats] = []
    line_parts: list[Integers] = []
    for batch in batches:
        count = len(batch.lines)
        if roles.series:
            code_parts.append(_codes(batch, roles.series, codes))
        if roles.time:
            time_parts.append(_times(batch, roles))
            line_parts.append(np.array(batch.lines, dtype=np.int64))
        value_parts.append(
            _numbers(batch, roles.target) if roles.target else np.full(count, np.nan)
        )
    values = np.concatenate(value_parts)
    ids = list(codes) if roles.series else ["1"]
    groups = np.concatenate(code_parts) if roles.series else np.zeros(len(values), dtype=np.int64)
    times = np.concatenate(time_parts) if roles.time else None
    # Stable, so rows without a time column keep the order of the file.
    order = np.argsort(groups, kind="stable") if times is None else np.lexsort((times, groups))
    groups, values = groups[order], values[order]
    if times is not None:
        times = times[order]
        twice = (np.diff(groups) == 0) & (np.diff(times) == 0)
        if twice.any():
            raise _twice(order, twice, np.concatenate(line_parts), ids, groups, roles)
    cuts = np.flatnonzero(np.diff(groups)) + 1
    dates = roles.time_format is not None
    if times is not None and not dates:
        scale = number_to_microseconds(times)
        dates, times = scale is not None, times * (scale or 1)
    return SeriesTable(
        ids,
        np.split(values, cuts),
        None if times is None else np.split(times, cuts),
        times_are_dates=dates,
    )


def _twice(
    order: Integers,
    twice: NDArray[np.bool_],
    lines: Integers,
    ids: list[str],
    groups: Integers,
    roles: SeriesRoles,
) -> Exception:
    """The error for the second row, in the file's order, of a time that stands twice."""
    pairs = np.flatnonzero(twice)
    later = np.maximum(order[pairs], order[pairs + 1])
    first = int(later.argmin())
    row = int(later[first])
    other = int(min(order[pairs[first]], order[pairs[first] + 1]))
    of = f" of series {shown(ids[int(groups[pairs[first]])])}" if roles.series else ""
    hint = "" if roles.series else "; name the column of the series' ids series_id if there is one"
    return wrong(
        DatasetUnparseableError,
        Place(row + 1, int(lines[row]), roles.time),
        f"the same time stands on row {other + 1}{of}{hint}",
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


def _numbers(batch: Batch, name: str) -> Floats:
    cells = _column(batch, name)
    numbers = cells.str.strip_chars().cast(pl.Float64, strict=False)
    return numbers.to_numpy().astype(np.float64)


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
    if season is None and roles.target is not None:
        season = find_season(table.values)
    return {
        "series": len(table.ids),
        "points": int(lengths.sum()),
        "min_length": int(lengths.min()),
        "median_length": int(np.median(lengths)),
        "max_length": int(lengths.max()),
        "frequency": name,
        "season_length": season,
        "gaps": gaps,
        "missing": missing if roles.target is not None else 0,
        "target_column": roles.target,
        "time_column": roles.time,
        "series_column": roles.series,
        "wide": roles.wide,
    }
