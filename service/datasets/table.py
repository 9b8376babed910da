"""Reads a table: the one way for validation and for training, so that what was checked is what is
trained on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from service.datasets import csv_rows, json_rows
from service.datasets.batches import Batch
from service.datasets.formats import Format
from service.datasets.limits import Limits


def read_batches(
    path: Path, format: Format, limits: Limits, columns: Sequence[str] | None = None
) -> Iterator[Batch]:
    """Reads a CSV or JSON Lines file with every check of its structure; `columns`: only these.

    Every batch of a CSV file has the same columns; one of JSON Lines has those that were seen.
    Raises `service.errors.Dataset*Error`, naming row, line, column and value.
    """
    if format.name == "csv":
        assert format.delimiter is not None
        return csv_rows.read(path, format.delimiter, limits, columns)
    return json_rows.read(path, limits, columns)


def read_first(path: Path, format: Format, rows: int) -> Batch:
    """The first rows of a validated file, without reading the rest of it."""
    limits = Limits.none()
    if format.name == "csv":
        assert format.delimiter is not None
        batches = csv_rows.read(
            path, format.delimiter, limits, None, batch_rows=rows, row_by_row=True
        )
    else:
        batches = json_rows.read(path, limits, None, batch_rows=rows)
    return next(iter(batches))
