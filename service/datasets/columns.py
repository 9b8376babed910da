"""Finds out what the columns of a table hold: numbers, times, lists or text.

A column is a number column if nearly all of its cells are written as numbers. A cell of it that is
not a finite number is then an error that names it: half-parsed columns are how a network comes to
be trained on nonsense. Times likewise. A missing cell is allowed anywhere and counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import polars as pl

from service.datasets.batches import Batch
from service.datasets.names import is_numeric_by_name, is_text_by_name, is_time_by_name
from service.datasets.places import Place, shown, wrong
from service.datasets.times import UNDECIDED, parse, possible_formats
from service.errors import DatasetNonfiniteError, DatasetUnparseableError, ServiceError

ColumnType = Literal["number", "text", "time", "list"]

NEARLY_ALL = 0.8
MOST = 0.5  # is enough where the name says what the column should hold
MAX_DISTINCT = 1_000
MAX_COUNTED = 256  # a wider table has no numbers for labels
MAX_FAULTS = 20
ENOUGH_CELLS = 2_000  # to see that a column holds no numbers
# Written as a number, though none that can be used: a decimal comma, thousands, a bare NaN.
LOOKS_NUMERIC = r"^[+-]?(\d{1,3}([ ,.']\d{3})+|\d+)([,.]\d+)?([eE][+-]?\d+)?\s*%?$"


@dataclass
class FormatSeen:
    """What one format made of a column of times so far."""

    times: int = 0
    first_untimely: tuple[Place, str] | None = None


@dataclass
class Column:
    """What was seen of one column so far."""

    name: str
    known: ColumnType | None = None  # what it holds, where that need not be found out
    filled: int = 0
    nulls: int = 0
    is_list: bool = False
    finite: int = 0
    numeric_looking: int = 0
    first_odd: tuple[Place, str] | None = None  # the first cell that is not a finite number
    may_be_number: bool = True
    # All that could be meant, in the order of `FORMATS`: the first rows may fit several.
    formats: dict[str, FormatSeen] = field(default_factory=dict)
    first_undecided: tuple[Place, str] | None = None  # two formats read it as different times
    chars: int = 0
    distinct: set[str] | None = field(default_factory=set)  # None: more than MAX_DISTINCT

    @property
    def type(self) -> ColumnType:
        if self.known is not None:
            return self.known
        if self.is_list:
            return "list"
        if self._is_mostly(self.finite + self.numeric_looking, is_numeric_by_name(self.name)):
            return "number"
        if self._is_mostly(self.times, is_time_by_name(self.name)):
            return "time"
        return "text"

    @property
    def times(self) -> int:
        return max((seen.times for seen in self.formats.values()), default=0)

    @property
    def time_format(self) -> str | None:
        """The format that most cells fit; None if there is none or `undecided` says why."""
        best = self._best_formats
        return best[0] if best and self.undecided is None else None

    @property
    def undecided(self) -> ServiceError | None:
        """What is wrong where two formats fit all cells alike and tell different times."""
        best = self._best_formats
        if len(best) < 2 or self.first_undecided is None:
            return None
        place, value = self.first_undecided
        message = f"{shown(value)} may be {' or '.join(best)}, and so may every cell: {UNDECIDED}"
        return wrong(DatasetUnparseableError, place, message)

    @property
    def _best_formats(self) -> list[str]:
        return [form for form, seen in self.formats.items() if seen.times == self.times]

    def _is_mostly(self, count: int, is_named_so: bool) -> bool:
        """Whether this share of the cells makes the column one of their kind."""
        if self.filled == 0:
            return False
        if is_text_by_name(self.name):
            return count == self.filled
        return count >= (MOST if is_named_so else NEARLY_ALL) * self.filled

    def error(self) -> tuple[Place, ServiceError] | None:
        """The first cell that does not fit the column's type."""
        if self.known is not None:
            return None
        if self.type == "number" and self.finite < self.filled and self.first_odd:
            place, value = self.first_odd
            message = f"{shown(value)} is not a finite number{_hint(value)}"
            return place, wrong(DatasetNonfiniteError, place, message)
        if self.type == "time" and self.times < self.filled:
            form = self._best_formats[0]
            untimely = self.formats[form].first_untimely
            if untimely is not None:
                place, value = untimely
                message = f"{shown(value)} is not a time of the form {form}"
                return place, wrong(DatasetUnparseableError, place, message)
        return None

    def described(self) -> dict[str, Any]:
        """The column as the profile holds it."""
        more: dict[str, Any] = {}
        if self.type == "time":
            more["format"] = self.time_format
        if self.distinct is not None and not self.is_list:
            more["distinct"] = len(self.distinct)
        if self.type == "text" and self.filled:
            more["mean_characters"] = round(self.chars / self.filled, 1)
        return {"name": self.name, "type": self.type, "nulls": self.nulls, **more}


def _hint(value: str) -> str:
    if "," in value:
        return "; decimals are written with a point, and thousands without a mark"
    return "; leave the cell empty where a value is missing"


class ColumnScan:
    """Looks at batches one after the other; memory does not grow with the rows.

    Args:
        known: types of columns, where they need not be found out.
    """

    def __init__(self, known: Mapping[str, ColumnType] | None = None) -> None:
        self.columns: dict[str, Column] = {}
        self._known = known or {}
        self.rows = 0

    def add(self, batch: Batch) -> None:
        frame = batch.frame
        present = dict.fromkeys(frame.columns)
        for name in present:
            if name not in self.columns:  # JSON Lines: absent from all rows before
                self.columns[name] = Column(name, self._known.get(name), nulls=self.rows)
        for name, column in self.columns.items():
            if name not in present:
                column.nulls += frame.height
        self.rows += frame.height
        for name in frame.select(pl.col(pl.List)).columns:
            self._add_list(self.columns[name], frame[name])
        self._add_texts(batch, frame.select(pl.col(pl.String)))

    def _add_list(self, column: Column, cells: pl.Series) -> None:
        column.is_list = True
        column.nulls += cells.null_count()
        column.filled += len(cells) - cells.null_count()

    def _add_texts(self, batch: Batch, texts: pl.DataFrame) -> None:
        if not texts.width:
            return
        filled = texts.count().row(0)
        chars = texts.select(pl.all().str.len_chars().sum()).row(0)
        open_names = [name for name in texts.columns if self.columns[name].may_be_number]
        numbers = texts.select(
            pl.col(open_names).str.strip_chars().cast(pl.Float64, strict=False).is_finite()
        )
        finite = dict(zip(open_names, numbers.sum().row(0), strict=True)) if open_names else {}
        for cells, count, size in zip(texts.iter_columns(), filled, chars, strict=True):
            name = cells.name
            column = self.columns[name]
            column.filled += count
            column.nulls += texts.height - count
            column.chars += size
            good = finite.get(name)
            if good == count and texts.width > MAX_COUNTED:
                column.distinct = None
            self._count_distinct(column, cells)
            if good is None or good < count:
                if good is not None:
                    column.finite += good
                    self._look_at_numbers(column, cells, numbers[name], batch)
                self._look_at_times(column, cells, batch)
            else:
                column.finite += good

    def _count_distinct(self, column: Column, cells: pl.Series) -> None:
        if column.distinct is None:
            return
        values = cells.unique().drop_nulls()
        # Long texts are no labels: keeping a thousand of them would be memory for nothing.
        if len(values) > MAX_DISTINCT or column.chars > 200 * max(column.filled, 1):
            column.distinct = None
            return
        column.distinct.update(values)
        if len(column.distinct) > MAX_DISTINCT:
            column.distinct = None

    def _look_at_numbers(
        self, column: Column, cells: pl.Series, finite: pl.Series, batch: Batch
    ) -> None:
        odd = cells.is_not_null() & ~finite.fill_null(value=False)
        stripped = cells.filter(odd).str.strip_chars()
        looks = stripped.cast(pl.Float64, strict=False).is_not_null() | stripped.str.contains(
            LOOKS_NUMERIC
        )
        column.numeric_looking += int(looks.sum())
        if column.first_odd is None:
            index = odd.arg_true()[0]
            column.first_odd = batch.place(index, column.name), cells[index]
        if column.filled >= ENOUGH_CELLS:
            share = (column.finite + column.numeric_looking) / column.filled
            column.may_be_number = share >= MOST / 2

    def _look_at_times(self, column: Column, cells: pl.Series, batch: Batch) -> None:
        if not column.formats:
            column.formats = {form: FormatSeen() for form in possible_formats(cells)}
        read = {form: parse(cells, form) for form in column.formats}
        for form, times in read.items():
            seen = column.formats[form]
            seen.times += len(times) - times.null_count()
            bad = cells.is_not_null() & times.is_null()
            if seen.first_untimely is None and bad.any():
                index = bad.arg_true()[0]
                seen.first_untimely = batch.place(index, column.name), cells[index]
        for one, other in pairwise(read.values()):
            differ = (one != other).fill_null(value=False)
            if column.first_undecided is None and differ.any():
                index = differ.arg_true()[0]
                column.first_undecided = batch.place(index, column.name), cells[index]

    def finish(self) -> list[Column]:
        """The columns with their types; raises for the first cell that does not fit its column."""
        columns = list(self.columns.values())
        found = sorted(_errors(columns), key=lambda pair: pair[0].row)
        if found:
            _, first = found[0]
            faults = [fault for _, error in found[:MAX_FAULTS] for fault in error.faults]
            raise type(first)(first.detail, faults=faults)
        return columns


def _errors(columns: Iterable[Column]) -> Iterable[tuple[Place, ServiceError]]:
    for column in columns:
        error = column.error()
        if error is not None:
            yield error
