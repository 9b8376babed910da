"""Some rows of a table, and what no cell of any table may hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.datasets.limits import Limits
from service.datasets.places import Place, wrong
from service.errors import DatasetUnparseableError, DatasetUnsafeTextError

# A batch ends with the first of these.
BATCH_ROWS = 100_000
BATCH_CELLS = 500_000
BATCH_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Batch:
    """Some rows in order. `first_row` is the number of the first; `lines` holds each one's line.

    A cell of `frame` is a text, or null where nothing stands; a list of numbers (JSON Lines) is a
    list of floats. What a text means is decided later, from all of a column (`columns`).
    """

    first_row: int
    lines: Sequence[int]
    digests: NDArray[np.int64]  # equal for equal rows, where all columns are read
    frame: pl.DataFrame

    def place(self, index: int, column: str | None = None) -> Place:
        return Place(self.first_row + index, self.lines[index], column)


def check_text(text: str, place: Place, limits: Limits) -> None:
    """Refuses what no column may hold: NUL, half of a character, a cell beyond the limit."""
    if len(text) > limits.max_cell_bytes:
        raise wrong(
            DatasetUnparseableError,
            place,
            f"the cell has {len(text)} characters; {limits.max_cell_bytes} bytes are allowed",
        )
    if "\0" in text:
        message = f"a NUL character stands at position {text.index(chr(0)) + 1}"
        raise wrong(DatasetUnsafeTextError, place, message)
    if not text.isascii():
        try:
            size = len(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            message = f"half of a surrogate pair stands at position {error.start + 1}"
            raise wrong(DatasetUnsafeTextError, place, message) from None
        if size > limits.max_cell_bytes:
            message = f"the cell has {size} bytes; {limits.max_cell_bytes} are allowed"
            raise wrong(DatasetUnparseableError, place, message)
