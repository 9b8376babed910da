"""Running text: a whole file of it, or one column of a table."""

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from service.datasets.batches import Batch
from service.datasets.labels import read_splits
from service.datasets.lines import BYTE_ORDER_MARK, not_utf8
from service.errors import (
    DatasetEmptyError,
    DatasetUnparseableError,
    DatasetUnsafeTextError,
    Fault,
)

CHUNK_BYTES = 2**20


def describe_file(path: Path) -> dict[str, Any]:
    """Checks a plain text file and gives the part `text` of its profile; memory stays bounded.

    Raises `DatasetUnparseableError` or `DatasetUnsafeTextError` naming the line, and
    `DatasetEmptyError` for white space alone.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    characters = size = lines = 0
    blank = ended = True
    with path.open("rb") as file:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        while True:
            chunk = file.read(CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # `error.object` may begin with bytes that the chunk before left over.
                line = lines + 1 + error.object[: error.start].count(b"\n")
                start = error.object.rfind(b"\n", 0, error.start) + 1
                raise _on_line(
                    DatasetUnparseableError,
                    line,
                    not_utf8(error.object[start : error.end], error.start - start),
                ) from None
            if "\0" in text:
                line = lines + 1 + text[: text.index("\0")].count("\n")
                raise _on_line(DatasetUnsafeTextError, line, "a NUL character stands here")
            characters += len(text)
            size += len(chunk)
            lines += text.count("\n")
            if text:
                blank = blank and not text.strip()
                ended = text.endswith("\n")
            if not chunk:
                break
    if blank:
        raise DatasetEmptyError("the file holds nothing but white space")
    lines += not ended
    return {"characters": characters, "bytes": size, "lines": lines, "text_column": None}


def _on_line(
    kind: type[DatasetUnparseableError] | type[DatasetUnsafeTextError], line: int, message: str
) -> DatasetUnparseableError | DatasetUnsafeTextError:
    return kind(f"line {line}: {message}", faults=[Fault(("body", "file", line), message)])


def read_texts(
    batches: Iterable[Batch], column: str, split_column: str | None = None
) -> Iterator[pl.DataFrame]:
    """Frames of `text` and `split` of a column's texts, in order; rows without one are left out.

    Without a split column all is for training. Raises `DatasetUnparseableError` naming the row for
    a split of an unknown name.
    """
    for batch in batches:
        if column in batch.frame.columns:
            splits = pl.lit("train") if split_column is None else read_splits(batch, split_column)
            frame = batch.frame.select(text=pl.col(column))
            yield frame.with_columns(split=splits).drop_nulls("text")


def describe_column(
    frames: Iterable[pl.DataFrame], column: str, split_column: str | None = None
) -> dict[str, Any]:
    """The part `text` of a table's profile: its texts are read with a line's end after each.

    `splits` are the bytes of each part, where there is a split column.
    """
    characters = rows = lines = 0
    splits: Counter[str] = Counter()
    for frame in frames:
        texts = frame["text"]
        characters += int(texts.str.len_chars().sum())
        lines += int(texts.str.count_matches("\n", literal=True).sum())
        rows += len(texts)
        sizes = frame.group_by("split").agg(pl.col("text").str.len_bytes().sum() + pl.len())
        splits.update(dict(sizes.iter_rows()))
    return {
        "characters": characters + rows,
        "bytes": splits.total(),
        "lines": lines + rows,
        "text_column": column,
        "split_column": split_column,
        "splits": dict(splits) if split_column is not None else None,
    }
