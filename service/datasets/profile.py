"""Validates a file and describes what it holds: the one thing that stands between an upload and
its use. Nothing is guessed later that is not written down here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig, TaskConfig
from service.datasets import labels, series, text
from service.datasets.columns import Column, ColumnScan, ColumnType
from service.datasets.covariates import code_static_columns
from service.datasets.formats import Format, detect
from service.datasets.limits import Limits
from service.datasets.roles import Guess, guess, series_roles
from service.datasets.series import SeriesRoles
from service.datasets.table import read_batches
from service.datasets.timesteps import read_job_series
from service.errors import DatasetUnparseableError

TASKS = {
    "series": "time-series-forecasting",
    "labels": "text-classification",
    "text": "text-generation",
}


def profile_file(path: Path, filename: str | None, limits: Limits) -> dict[str, Any]:
    """Checks all of a file and describes it; the answer is JSON and is kept with the data set.

    Raises a `service.errors` error for the first thing that is wrong, naming row, line, column and
    value.
    """
    format = detect(path, filename)
    if format.name == "text":
        found = text.describe_file(path)
        parts: dict[str, Any] = {"series": None, "labels": None, "text": found}
        return _profile(format, found["lines"], [], parts, duplicates=0)
    scan = ColumnScan()
    digests: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    for batch in read_batches(path, format, limits):
        scan.add(batch)
        digests.append(batch.digests)
    columns = scan.finish()
    seen = guess(columns, scan.rows)
    parts = {
        "series": _try_series(path, format, limits, columns, seen),
        "labels": seen.labels and _describe_labels(path, format, limits, seen.labels),
        "text": seen.text_column and _describe_text(path, format, limits, seen.text_column),
    }
    duplicates = scan.rows - pl.Series(np.concatenate(digests)).n_unique()
    return _profile(format, scan.rows, columns, parts, duplicates=duplicates)


def profile_own(path: Path, types: Mapping[str, ColumnType]) -> dict[str, Any]:
    """Describes a JSON Lines file that this program wrote: what its columns hold is known, no row
    stands in it twice, and no task is guessed from it."""
    format = Format("jsonl")
    scan = ColumnScan(types)
    for batch in read_batches(path, format, Limits.none()):
        scan.add(batch)
    return _profile(format, scan.rows, scan.finish(), dict.fromkeys(TASKS), duplicates=0)


def _profile(
    format: Format,
    rows: int,
    columns: Sequence[Column],
    parts: Mapping[str, Any],
    *,
    duplicates: int,
) -> dict[str, Any]:
    return {
        "format": format.name,
        "delimiter": format.delimiter,
        "rows": rows,
        "columns": [column.described() for column in columns],
        **parts,
        "duplicates": duplicates,
        "tasks": [task for part, task in TASKS.items() if parts[part] is not None],
    }


def _try_series(
    path: Path, format: Format, limits: Limits, columns: Sequence[Column], seen: Guess
) -> dict[str, Any] | None:
    """None where the file holds no series, though something else; raises if it holds nothing else.

    Two reviews of one day are no fault of theirs: series are only a guess where there are texts.
    """
    if seen.series is None:
        return None
    try:
        for column in columns:
            if column.name == seen.series[0].time and column.undecided is not None:
                raise column.undecided
        return _describe_series(path, format, limits, seen.series)
    except DatasetUnparseableError:
        if seen.labels is None and seen.text_column is None:
            raise
        return None


def _describe_series(
    path: Path, format: Format, limits: Limits, choices: Sequence[SeriesRoles]
) -> dict[str, Any]:
    """Tries the choices in turn: a time that stands twice tells that a series column is missing."""
    first_error: DatasetUnparseableError | None = None
    for roles in choices:
        try:
            table = series.read_series(read_batches(path, format, limits, roles.columns), roles)
        except DatasetUnparseableError as error:
            first_error = first_error or error
            continue
        if roles.series and not roles.wide and len(table.ids) == sum(map(len, table.values)):
            continue  # it numbers the rows
        if first_error is not None and not table.shares_times:
            continue  # one time that stands twice by mistake does not make it many series
        return series.describe(table, roles)
    assert first_error is not None
    raise first_error


def _describe_labels(
    path: Path, format: Format, limits: Limits, roles: labels.LabelRoles
) -> dict[str, Any]:
    batches = read_batches(path, format, limits, roles.columns)
    return labels.describe(labels.read_labelled(batches, roles), roles)


def _describe_text(
    path: Path, format: Format, limits: Limits, column: str, split: str | None = None
) -> dict[str, Any]:
    batches = read_batches(path, format, limits, [column] if split is None else [column, split])
    return text.describe_column(text.read_texts(batches, column, split), column, split)


def format_of(profile: Mapping[str, Any]) -> Format:
    return Format(profile["format"], profile["delimiter"])


def fit_profile(path: Path, profile: Mapping[str, Any], config: TaskConfig) -> Mapping[str, Any]:
    """The profile as it is for the columns of an assigned configuration.

    The stored profile describes the columns that were found. Where a job names others, their part
    is described anew, so that what is derived from it (horizon, batch size) is right.
    """
    format = format_of(profile)
    limits = Limits.none()
    match config:
        case ForecastingConfig():
            part, roles = "series", series_roles(config, profile)
            found = _same(
                profile[part], config.data, "target_column", "time_column", "series_column"
            )
            if found and not (roles.targets or roles.beside or config.data.calendar):
                return profile
            batches = read_batches(path, format, limits, roles.columns)
            table = read_job_series(batches, roles, config.data)
            types = {column["name"]: column["type"] for column in profile["columns"]}
            new = {
                **series.describe(table, roles),
                "dates": table.times is not None and table.times_are_dates,
                "static_columns": code_static_columns(table, config.data, types),
            }
        case ClassificationConfig():
            part, data = "labels", config.data
            if _same(profile[part], data, "text_column", "label_column", "split_column"):
                return profile
            assert data.text_column is not None
            assert data.label_column is not None
            label_roles = labels.LabelRoles(data.text_column, data.label_column, data.split_column)
            new = _describe_labels(path, format, limits, label_roles)
        case GenerationConfig():
            part, column, split = "text", config.data.text_column, config.data.split_column
            if column is None or (
                split is None and _same(profile[part], config.data, "text_column")
            ):
                return profile
            new = _describe_text(path, format, limits, column, split)
    return {**profile, part: new}


def _same(part: Mapping[str, Any] | None, data: Any, *fields: str) -> bool:
    return part is not None and all(part[field] == getattr(data, field) for field in fields)
