"""What is drawn of a data set: numbers out of its profile and its first rows."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from service.api.schemas.datasets import DatasetPreview, DatasetProfile, SeriesProfile
from service.datasets.lengths import length_bars
from service.datasets.times import from_microseconds, number_to_microseconds, parse

MOST_LINES = 6
MOST_LABELS = 30
YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999)  # 1 to 9999, microseconds since 1970
GAP = 1.5  # of the most common distance of two timesteps

Point = tuple[float | str, float | None]


class Bar(NamedTuple):
    name: str
    rows: int
    share: float  # of the longest bar


def label_bars(profile: DatasetProfile) -> list[Bar]:
    """How often each label stands in the file, the most frequent first; the rest together."""
    if profile.labels is None:
        return []
    counts = sorted(profile.labels.counts.items(), key=lambda each: -each[1])
    rest = counts[MOST_LABELS:]
    if rest:
        together = sum(count for _, count in rest)
        counts = [*counts[:MOST_LABELS], (f"{len(rest)} others", together)]
    most = max(count for _, count in counts)
    return [Bar(name, count, count / most) for name, count in counts]


def series_length_bars(profile: DatasetProfile) -> list[tuple[str, int]]:
    """How many series have how many timesteps. Empty where that was not counted, or is of no use:
    for a single series, and where all have the same length."""
    bars = (profile.series and profile.series.lengths) or []
    if len(bars) < 2:
        return []
    return [(_between(bar.min_length, bar.max_length), bar.series) for bar in bars]


def text_length_bars(texts: Sequence[str]) -> list[tuple[str, int]]:
    """How many texts have how many characters. Empty without texts."""
    bars = length_bars([len(text) for text in texts])
    return [(_between(least, most), count) for least, most, count in bars]


def _between(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}–{most}"


def series_lines(profile: DatasetProfile, first: DatasetPreview) -> dict[str, Any] | None:
    """The first series as lines over time, or over their timesteps where there is none.

    A value that is missing, and the place of timesteps that were left out, is null: the line is
    broken there.
    """
    series = profile.series
    if series is None:
        return None
    if series.wide:
        return {"axis": "value", "lines": _wide_lines(series, first)}
    by_time, places = _places(profile, series.time_column, first)
    targets = [series.target_column] if series.target_column else _numbers(profile, series)
    groups: dict[str, list[tuple[float, float]]] = {}
    for place, row in zip(places, first.rows, strict=True):
        for target in targets:
            name = target if series.series_column is None else f"{row[series.series_column]}"
            if math.isfinite(place) and (name in groups or len(groups) < MOST_LINES):
                groups.setdefault(name, []).append((place, _number(row[target])))
    return {
        "axis": "time" if by_time else "value",
        "lines": [
            {"name": name, "points": _broken(sorted(found, key=lambda each: each[0]), by_time)}
            for name, found in groups.items()
        ],
    }


def _places(
    profile: DatasetProfile, time: str | None, first: DatasetPreview
) -> tuple[bool, list[float]]:
    """Where each row stands: in microseconds since 1970 if the first answer is yes, else by the
    number that it gives for its time, or by its place in the file. NaN where it gives none."""
    column = next((each for each in profile.columns if each.name == time), None)
    if column is None or (column.type == "time" and column.format is None):
        return False, [float(row) for row in range(len(first.rows))]
    cells = [row[column.name] for row in first.rows]
    if column.format is not None:
        times = parse(pl.Series(cells, dtype=pl.String), column.format)
        known_years = times.is_between(*YEARS)
        return True, list(times.set(~known_years, None).cast(pl.Float64).fill_null(math.nan))
    numbers = np.array([_number(cell) for cell in cells])
    known = numbers[np.isfinite(numbers)].astype(np.int64)
    scale = number_to_microseconds(known) if len(known) else None
    return scale is not None, list(numbers * (scale or 1))


def _wide_lines(series: SeriesProfile, first: DatasetPreview) -> list[dict[str, Any]]:
    assert series.target_column is not None
    lines = []
    for number, row in enumerate(first.rows[:MOST_LINES], 1):
        values = [_number(value) for value in row[series.target_column] or []]
        name = row[series.series_column] if series.series_column else number
        points = [(float(place), value) for place, value in enumerate(values)]
        lines.append({"name": str(name), "points": _broken(points, by_time=False)})
    return lines


def _broken(found: Sequence[tuple[float, float]], by_time: bool) -> list[Point]:
    """The points of one line in order, with a null in each gap."""
    steps = np.diff([place for place, _ in found])
    positive = steps[steps > 0]
    usual = float(np.median(positive)) if len(positive) else math.inf
    points: list[Point] = []
    for index, (place, value) in enumerate(found):
        if index and steps[index - 1] > GAP * usual:
            points.append((_place(found[index - 1][0] + usual, by_time), None))
        points.append((_place(place, by_time), value if math.isfinite(value) else None))
    return points


def _place(value: float, by_time: bool) -> float | str:
    return from_microseconds(int(value)).isoformat() if by_time else value


def _numbers(profile: DatasetProfile, series: SeriesProfile) -> list[str]:
    roles = (series.time_column, series.series_column)
    found = [each.name for each in profile.columns if each.type == "number"]
    return [name for name in found if name not in roles][:MOST_LINES]


def _number(cell: Any) -> float:
    """NaN for what is missing."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan
