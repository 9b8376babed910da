"""The fast way through a CSV file without quotes, which nearly every file of numbers is.

polars splits the lines, outside of Python's lock. It is lenient where `csv_rows` is strict, so it
is used only for files in which there is nothing to be lenient about: `is_plain` looks at every
byte first. Everything else takes the slow way, which also words the errors; a test holds the two
equal.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.datasets.batches import BATCH_CELLS, BATCH_ROWS, Batch
from service.datasets.limits import Limits
from service.datasets.lines import BYTE_ORDER_MARK

BLOCK_BYTES = 4 * 2**20


def is_plain(path: Path, delimiter: str, limits: Limits) -> bool:
    """Whether the rows after the header need no rules: no quote, no NUL, no blank line, UTF-8,
    every line short and of as many cells as the first.
    """
    separator = ord(delimiter)
    with path.open("rb") as file:
        header = file.readline(limits.max_cell_bytes).removeprefix(BYTE_ORDER_MARK)
        cells = header.count(delimiter.encode()) + 1
        if not header.endswith(b"\n") or not _is_simple(header) or cells > limits.max_columns:
            return False
        if cells == 1:  # a blank line would be a row
            return False
        seen = 0
        for block in _blocks(file):
            seen += len(block)
            if not _is_simple(block):
                return False
            data = np.frombuffer(block, dtype=np.uint8)
            ends = np.flatnonzero(data == ord("\n"))
            lengths = np.diff(ends, prepend=-1)
            if lengths.max() > limits.max_cell_bytes:
                return False
            separators = np.flatnonzero(data == separator)
            before = np.searchsorted(separators, ends)
            if (np.diff(before, prepend=0) != cells - 1).any():
                return False
        return seen > 0


def _is_simple(block: bytes) -> bool:
    """Whether nothing stands in it that the two ways could take differently."""
    if b'"' in block or b"\0" in block or block.count(b"\r") != block.count(b"\r\n"):
        return False
    if block.isascii():
        return True
    if BYTE_ORDER_MARK in block:  # polars drops one that begins a block
        return False
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, the last one with an end even where the file has none."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
            if len(rest) > 4 * BLOCK_BYTES:  # no line is so long: not plain
                yield rest + b'"\n'
                return
    if rest:
        yield rest + b"\n"


def read(path: Path, delimiter: str, names: list[str], columns: list[str]) -> Iterator[Batch]:
    """Batches of a plain file's rows."""
    schema = dict.fromkeys(names, pl.String())
    first_row = 1
    size = max(1, min(BATCH_ROWS, BATCH_CELLS // len(names)))
    with path.open("rb") as file:
        file.readline()
        for block in _blocks(file):
            scan = pl.scan_csv(
                block, has_header=False, separator=delimiter, quote_char=None, schema=schema
            )
            frame = scan.select(columns).collect()
            for piece in frame.iter_slices(size):
                yield Batch(
                    first_row,
                    range(first_row + 1, first_row + 1 + piece.height),
                    _digests(piece),
                    piece,
                )
                first_row += piece.height


def _digests(frame: pl.DataFrame) -> NDArray[np.int64]:
    return frame.hash_rows(seed=0).to_numpy().view(np.int64)
