"""Rows of a CSV file: RFC 4180 with a header, strict about the number of cells and about quotes."""

import csv
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import polars as pl

from service.datasets import plain_csv
from service.datasets.batches import BATCH_BYTES, BATCH_CELLS, BATCH_ROWS, Batch, check_text
from service.datasets.limits import Limits
from service.datasets.lines import Lines
from service.datasets.places import Place, shown, wrong
from service.errors import (
    DatasetEmptyError,
    DatasetTooWideError,
    DatasetUnparseableError,
    Fault,
    ServiceError,
)

MAX_NAME_CHARS = 200  # as long as a configuration may call a column


def read(
    path: Path,
    delimiter: str,
    limits: Limits,
    columns: Sequence[str] | None,
    *,
    batch_rows: int = BATCH_ROWS,
    row_by_row: bool = False,
) -> Iterator[Batch]:
    """Batches of the file's rows, see `table.read_batches`; `row_by_row`: never the fast way."""
    # One setting for the process: always the same here, and `check_text` holds the real limit.
    csv.field_size_limit(max(limits.max_row_bytes, csv.field_size_limit()))
    lines = Lines(path, limits.max_row_bytes)
    rows = _rows(csv.reader(lines, delimiter=delimiter, strict=True), lines)
    header = next(rows, None)
    if header is None:
        raise DatasetEmptyError("the file is empty")
    names = _names(header[1], limits)
    # A frame without a column has no row either, and who asks for none counts the rows.
    chosen = list(names) if columns is None else list(columns) or names[:1]
    if not row_by_row and plain_csv.is_plain(path, delimiter, limits):
        yield from plain_csv.read(path, delimiter, names, chosen)
        return
    batch = _Rows(names, chosen)
    lines.row_bytes = 0
    number = batch_bytes = 0
    for line, row in rows:
        number += 1
        if len(row) != len(names):
            raise _wrong_width(row, names, Place(number, line), limits)
        if lines.has_nul or lines.row_bytes > limits.max_cell_bytes:
            for name, cell in zip(names, row, strict=True):
                check_text(cell, Place(number, line, name), limits)
        batch_bytes += lines.row_bytes
        lines.row_bytes = 0
        batch.add(line, row)
        full = batch.cells >= BATCH_CELLS or len(batch.lines) >= batch_rows
        if full or batch_bytes >= BATCH_BYTES:
            yield batch.flush(number)
            batch_bytes = 0
    if number == 0:
        raise DatasetEmptyError("the file has a header and no row of data")
    if batch.lines:
        yield batch.flush(number)


def _rows(reader: Iterator[list[str]], lines: Lines) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of the line that it starts on; blank lines at the end are none."""
    row_number = -1  # the header is row 0
    start = 1
    blank: list[int] = []
    while True:
        row_number += 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise wrong(
                DatasetUnparseableError, Place(row_number, start), _said(error, start)
            ) from None
        if row is None:
            return
        if row:
            for line in blank:
                yield line, [""]
            blank.clear()
            yield start, row
        else:
            blank.append(start)
        start = lines.number + 1


def _said(error: csv.Error, line: int) -> str:
    if "unexpected end of data" in str(error):
        return f"a quote is opened on line {line} or later and never closed"
    if "new-line character" in str(error):
        return "a carriage return stands inside a cell that is not in quotes"
    if "expected after" in str(error):
        return "text follows a closing quote; a quote inside a cell is written twice"
    return str(error)


def _names(header: list[str], limits: Limits) -> list[str]:
    """The columns' names; one that is empty is called by its number."""
    if len(header) > limits.max_columns:
        raise DatasetTooWideError(
            f"the header has {len(header)} columns; {limits.max_columns} are allowed"
        )
    names = [cell.strip() or f"column_{i}" for i, cell in enumerate(header, 1)]
    if all(_is_number(name) for name in names):
        raise _bad_header(
            f"the first line must name the columns; it holds numbers: {shown(', '.join(names))}"
        )
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _bad_header(f"two columns are called {shown(name)}")
        if len(name) > MAX_NAME_CHARS or "\0" in name:
            raise _bad_header(
                f"the name {shown(name)} is longer than {MAX_NAME_CHARS} characters or holds NUL"
            )
        seen.add(name)
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bad_header(message: str) -> DatasetUnparseableError:
    return DatasetUnparseableError(
        f"header (line 1): {message}", faults=[Fault(("body", "file", "header"), message)]
    )


def _wrong_width(row: list[str], names: list[str], place: Place, limits: Limits) -> ServiceError:
    kind = DatasetTooWideError if len(row) > limits.max_columns else DatasetUnparseableError
    count = "1 cell" if len(row) == 1 else f"{len(row)} cells"
    message = f"{count} where the header has {len(names)}; the first is {shown(row[0])}"
    return wrong(kind, place, message)


class _Rows:
    """Rows that wait to become a frame of the chosen columns."""

    def __init__(self, names: list[str], chosen: list[str]) -> None:
        self.lines: list[int] = []
        self.cells = 0
        self._chosen = chosen
        self._places = [names.index(name) for name in chosen]
        self._digests: list[int] = []
        self._rows: list[list[str]] = []

    def add(self, line: int, row: list[str]) -> None:
        self.lines.append(line)
        self._digests.append(hash(tuple(row)))
        self._rows.append(row)
        self.cells += len(row)

    def flush(self, last_row: int) -> Batch:
        columns = {
            name: pl.Series(name, list(map(itemgetter(place), self._rows)), dtype=pl.String)
            for name, place in zip(self._chosen, self._places, strict=True)
        }
        frame = pl.DataFrame(columns).with_columns(
            pl.when(pl.all().str.len_bytes() > 0).then(pl.all())
        )
        digests = np.array(self._digests, dtype=np.int64)
        batch = Batch(last_row - len(self.lines) + 1, self.lines, digests, frame)
        self.lines, self._digests, self._rows, self.cells = [], [], [], 0
        return batch
