"""Bodies of `/datasets`."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from service.api.schemas.base import View


class DatasetView(View):
    """A validated, immutable file, without what was found in it."""

    id: UUID
    name: str
    filename: str | None
    format: Literal["csv", "jsonl", "text"]
    size_bytes: int
    sha256: str
    rows: int
    duplicates: int
    tasks: list[str]
    created_at: datetime


class ColumnView(View):
    name: str
    type: Literal["number", "text", "time", "list"]
    nulls: int
    format: str | None = None
    distinct: int | None = None
    mean_characters: float | None = None


class SeriesLengths(View):
    """One bar of a histogram: `series` have from `min_length` to `max_length` timesteps."""

    min_length: int
    max_length: int
    series: int


class SeriesProfile(View):
    """What a forecasting job would find. Lengths count timesteps; gaps are timesteps left out."""

    series: int
    points: int
    min_length: int
    median_length: int
    max_length: int
    lengths: list[SeriesLengths] | None = Field(
        None, description="At most 24 bars; null: the file was taken in before they were counted."
    )
    frequency: str | None
    season_length: int | None
    gaps: int
    missing: int
    target_column: str | None
    time_column: str | None
    series_column: str | None
    wide: bool


class LabelsProfile(View):
    """What a classification job would find."""

    text_column: str
    label_column: str
    split_column: str | None
    counts: dict[str, int]
    splits: dict[str, int] | None
    median_tokens: int


class TextProfile(View):
    """What a job that learns to generate text would find."""

    characters: int
    bytes: int
    lines: int
    text_column: str | None


class DatasetProfile(View):
    format: Literal["csv", "jsonl", "text"]
    delimiter: str | None
    rows: int
    columns: list[ColumnView]
    series: SeriesProfile | None
    labels: LabelsProfile | None
    text: TextProfile | None
    duplicates: int
    tasks: list[str]


class DatasetDetail(DatasetView):
    profile: DatasetProfile


class DatasetPreview(View):
    """The first rows. Cells stand as in the file: texts, null, or lists of numbers."""

    columns: list[str]
    rows: list[dict[str, Any]]
