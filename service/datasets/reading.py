"""Reads a validated file: as the examples of a job, or its first rows for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig, TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from service.datasets.covariates import static_values
from service.datasets.labels import LabelRoles, read_labelled
from service.datasets.limits import Limits
from service.datasets.lines import BYTE_ORDER_MARK
from service.datasets.profile import format_of
from service.datasets.roles import series_roles
from service.datasets.table import read_batches, read_first
from service.datasets.text import read_texts
from service.datasets.timesteps import read_job_series

SHOWN_CELL_CHARS = 500
SHOWN_LIST_VALUES = 50


def load_examples(path: Path, profile: Mapping[str, Any], config: TaskConfig) -> Examples:
    """The examples of a job whose columns are assigned (`roles.assign_columns`)."""
    match config:
        case ForecastingConfig():
            return _series(path, profile, config)
        case ClassificationConfig():
            return _texts(path, profile, config)
        case GenerationConfig():
            return _corpus(path, profile, config)


def _series(path: Path, profile: Mapping[str, Any], config: ForecastingConfig) -> SeriesExamples:
    roles = series_roles(config, profile)
    batches = read_batches(path, format_of(profile), Limits.none(), roles.columns)
    table = read_job_series(batches, roles, config.data)
    found = profile["series"] or {}
    same_time = found.get("time_column") == roles.time
    frequency = found.get("frequency") if same_time else None
    return SeriesExamples(
        table.ids,
        table.values,
        table.starts,
        config.data.frequency or frequency,
        table.past if roles.past else None,
        table.future if roles.future else None,
        static_values(table, config.data.static_columns or []) if roles.static else None,
    )


def _texts(path: Path, profile: Mapping[str, Any], config: ClassificationConfig) -> TextExamples:
    data = config.data
    assert data.text_column is not None, "assign_columns comes first"
    assert data.label_column is not None, "assign_columns comes first"
    roles = LabelRoles(data.text_column, data.label_column, data.split_column)
    batches = read_batches(path, format_of(profile), Limits.none(), roles.columns)
    frame = pl.concat(list(read_labelled(batches, roles)))
    splits = frame["split"].to_list() if roles.split is not None else None
    return TextExamples(frame["text"].to_list(), frame["label"].to_list(), splits)


def _corpus(path: Path, profile: Mapping[str, Any], config: GenerationConfig) -> CorpusExamples:
    column = config.data.text_column
    if column is None:
        data = np.fromfile(path, dtype=np.uint8)
        starts_with_mark = bytes(data[: len(BYTE_ORDER_MARK)]) == BYTE_ORDER_MARK
        return CorpusExamples(data[len(BYTE_ORDER_MARK) :] if starts_with_mark else data)
    split = config.data.split_column
    columns = [column] if split is None else [column, split]
    batches = read_batches(path, format_of(profile), Limits.none(), columns)
    parts = {"train": bytearray(), "validation": bytearray(), "test": bytearray()}
    for frame in read_texts(batches, column, split):
        for text, part in frame.iter_rows():
            parts[part] += text.encode("utf-8") + b"\n"
    whole = np.frombuffer(b"".join(parts.values()), dtype=np.uint8)
    training, validation, test = map(len, parts.values())
    return CorpusExamples(whole, None if split is None else (training, validation, test))


def preview(path: Path, profile: Mapping[str, Any], rows: int) -> list[dict[str, Any]]:
    """The first rows, cells as they stand in the file; long texts and lists are cut."""
    if profile["format"] == "text":
        return [{"text": _cut(line)} for line in _first_lines(path, rows)]
    first = read_first(path, format_of(profile), rows)
    names = [column["name"] for column in profile["columns"]]
    return [
        {name: _cut(row.get(name)) for name in names}
        for row in first.frame.head(rows).iter_rows(named=True)
    ]


def _first_lines(path: Path, rows: int) -> list[str]:
    """At most so many lines; fewer where long ones come first. No line is held whole."""
    enough_bytes = 4 * (SHOWN_CELL_CHARS + 1)  # to show a line cut
    with path.open("rb") as file:
        # Then to the end of the last line, unless it is known to be too long to be shown.
        head = file.read(rows * enough_bytes) + file.readline(enough_bytes)
    # It was checked to be UTF-8: only a character that is cut at the end is ignored.
    text = head.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "ignore")
    lines = text.removesuffix("\n").split("\n")
    return [line.rstrip("\r") for line in lines[:rows]]


def _cut(cell: Any) -> Any:
    if isinstance(cell, str) and len(cell) > SHOWN_CELL_CHARS:
        return cell[:SHOWN_CELL_CHARS] + "…"
    if isinstance(cell, list):
        return cell[:SHOWN_LIST_VALUES]
    return cell
