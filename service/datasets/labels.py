"""Labelled texts out of a table: read and described."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from service.datasets.batches import Batch
from service.datasets.places import shown, wrong
from service.errors import DatasetUnparseableError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class LabelRoles:
    """Which columns hold what."""

    text: str
    label: str
    split: str | None

    @property
    def columns(self) -> list[str]:
        return [name for name in (self.text, self.label, self.split) if name is not None]


def read_labelled(batches: Iterable[Batch], roles: LabelRoles) -> Iterator[pl.DataFrame]:
    """Frames of `text`, `label` and, with a split column, `split`; rows that lack one are left out.

    Raises `DatasetUnparseableError` naming the row for a split of an unknown name.
    """
    for batch in batches:
        if not {roles.text, roles.label} <= {*batch.frame.columns}:
            continue
        frame = batch.frame.select(
            text=pl.col(roles.text), label=pl.col(roles.label).str.strip_chars()
        )
        if roles.split is not None:
            frame = frame.with_columns(split=read_splits(batch, roles.split))
        yield frame.filter(pl.col("text").str.contains(r"\S") & (pl.col("label") != ""))


def read_splits(batch: Batch, column: str) -> pl.Series:
    """The part that each row belongs to; raises for a name that is not one of `SPLIT_NAMES`."""
    if column not in batch.frame.columns:
        raise wrong(DatasetUnparseableError, batch.place(0, column), "the cell is empty")
    cells = batch.frame[column]
    splits = cells.str.strip_chars().str.to_lowercase().replace_strict(SPLIT_NAMES, default=None)
    if splits.null_count():
        index = splits.is_null().arg_true()[0]
        message = f"{shown(cells[index] or '')} is not one of {', '.join(SPLIT_NAMES)}"
        raise wrong(DatasetUnparseableError, batch.place(index, column), message)
    return splits


def describe(frames: Iterable[pl.DataFrame], roles: LabelRoles) -> dict[str, Any]:
    """The part `labels` of a profile. `median_tokens` counts words, as white space divides them."""
    counts: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    tokens: list[np.ndarray[Any, np.dtype[np.int32]]] = [np.zeros(0, dtype=np.int32)]
    for frame in frames:
        counts.update(frame["label"].to_list())
        if roles.split is not None:
            splits.update(frame["split"].to_list())
        words = frame["text"].str.count_matches(r"\S+")
        tokens.append(words.cast(pl.Int32).to_numpy())
    lengths = np.concatenate(tokens)
    return {
        "text_column": roles.text,
        "label_column": roles.label,
        "split_column": roles.split,
        "counts": dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))),
        "splits": dict(splits) if roles.split is not None else None,
        "median_tokens": int(np.median(lengths)) if len(lengths) else 0,
    }
