"""However small the bundles, a data set gives the series that a training reads from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn.config import ForecastingConfig
from rnn.forecasting.covariates import SeriesCovariates
from service.batches import series
from service.batches.rows import SeriesRow
from service.batches.series import SeriesSource
from service.datasets import csv_rows, json_rows, plain_csv
from service.datasets.roles import assign_columns
from service.errors import DatasetUnparseableError
from tests.unit.batches.conftest import Upload

HORIZON = 2


@pytest.fixture(params=[1, 35, 10_000_000])
def bundle_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Numbers that are held at once; files are read a few rows at a time."""
    monkeypatch.setattr(series, "BUNDLE_NUMBERS", request.param)
    monkeypatch.setattr(plain_csv, "BATCH_ROWS", 5)
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", 5)
    monkeypatch.setattr(json_rows, "BATCH_CELLS", 9)
    number: int = request.param
    return number


def source(path: Path, profile: Mapping[str, Any], folder: Path, **data: Any) -> SeriesSource:
    config = ForecastingConfig.model_validate({"task": "time-series-forecasting", "data": data})
    assigned = assign_columns(config, profile)
    assert isinstance(assigned, ForecastingConfig)
    return SeriesSource(path, profile, assigned, horizon=HORIZON, folder=folder)


def values(rows: list[SeriesRow]) -> dict[str, list[float]]:
    return {row.name: row.values.tolist() for row in rows}


def panel(names: int = 6, length: int = 8) -> str:
    """Sorted by time: no two rows of a series follow each other."""
    rows = [
        f"2024-01-{day:02},s{name},{name + day / 100}"
        for day in range(1, length + 1)
        for name in range(names)
    ]
    return "\n".join(["date,series_id,value", *rows])


def test_series_whose_rows_are_scattered(
    upload: Upload, tmp_path: Path, bundle_numbers: int
) -> None:
    found = source(*upload("panel.csv", panel()), tmp_path)
    rows = list(found.rows(0))
    assert found.total == 6
    assert values(rows) == {
        f"s{name}": [name + day / 100 for day in range(1, 9)] for name in range(6)
    }
    assert not list(tmp_path.glob(".series-*"))


def test_rows_out_of_the_order_of_time(upload: Upload, tmp_path: Path, bundle_numbers: int) -> None:
    content = "date,series_id,value\n2024-01-02,b,2\n2024-01-01,a,1\n2024-01-01,b,\n2024-01-02,a,3"
    rows = list(source(*upload("panel.csv", content), tmp_path).rows(0))
    assert [row.name for row in rows] == ["b", "a"]
    np.testing.assert_array_equal(rows[0].values, [np.nan, 2])
    np.testing.assert_array_equal(rows[1].values, [1, 3])


@pytest.mark.parametrize("done", [1, 4, 5, 6])
def test_what_is_done_is_left_out(
    upload: Upload, tmp_path: Path, bundle_numbers: int, done: int
) -> None:
    found = source(*upload("panel.csv", panel()), tmp_path)
    assert [row.name for row in found.rows(done)] == [f"s{name}" for name in range(done, 6)]


def test_what_is_known_beside_the_values(
    upload: Upload, tmp_path: Path, bundle_numbers: int
) -> None:
    """Covariates go on after the values; of the future ones no more is read than is asked for."""
    rows = [
        f"2024-01-{day:02},{name},{sales},{10 * day},{100 + day},{name}-town,{size}"
        for day, sales in enumerate((1, 2, 3, "", "", "", ""), 1)
        for name, size in (("a", 5), ("b", ""))
    ]
    content = "\n".join(["date,shop,sales,visitors,price,town,size", *rows])
    found = source(
        *upload("panel.csv", content),
        tmp_path,
        target_column="sales",
        series_column="shop",
        past_covariates=["visitors"],
        future_covariates=["price"],
        static_covariates=["town", "size"],
        static_columns=[
            {"column": "town", "words": ["a-town"]},
            {"column": "size", "location": 1.0, "scale": 2.0},
        ],
    )
    for row, size in zip(found.rows(0), (5.0, None), strict=True):
        assert row.values.tolist() == [1, 2, 3]
        known: SeriesCovariates = row.covariates
        assert known.past["visitors"].tolist() == [10, 20, 30]
        assert known.future["price"].tolist() == [101, 102, 103, 104, 105]
        assert known.static == {"town": f"{row.name}-town", "size": size}
        assert known.start is not None
        assert known.start.isoformat() == "2024-01-01T00:00:00+00:00"
        assert row.size == 3 + 3 + 5


@pytest.mark.parametrize("done", [0, 1, 3])
def test_several_targets_are_series_of_each(
    upload: Upload, tmp_path: Path, bundle_numbers: int, done: int
) -> None:
    content = "date,series_id,x,y\n" + "".join(
        f"2024-01-0{day},{name},{day},{day * 10}\n" for day in (1, 2) for name in "ab"
    )
    found = source(*upload("panel.csv", content), tmp_path, target_columns=["x", "y"])
    assert found.total == 4
    each = {"a.x": [1, 2], "a.y": [10, 20], "b.x": [1, 2], "b.y": [10, 20]}
    assert values(list(found.rows(done))) == dict(list(each.items())[done:])


def test_one_series_without_a_name(upload: Upload, tmp_path: Path, bundle_numbers: int) -> None:
    found = source(*upload("series.csv", "y\n1\n2\n\n4\n"), tmp_path)
    (row,) = found.rows(0)
    np.testing.assert_array_equal(row.values, [1, 2, np.nan, 4])
    assert found.total == 1


@pytest.mark.parametrize("done", [0, 2, 5])
def test_one_series_a_row(upload: Upload, tmp_path: Path, bundle_numbers: int, done: int) -> None:
    content = "".join(
        json.dumps({"id": f"s{name}", "target": [name, None, 1.5]}) + "\n" for name in range(5)
    )
    found = source(*upload("wide.jsonl", content), tmp_path)
    rows = list(found.rows(done))
    assert (found.total, [row.name for row in rows]) == (5, [f"s{n}" for n in range(done, 5)])
    for row in rows:
        np.testing.assert_array_equal(row.values, [int(row.name[1:]), np.nan, 1.5])


def test_a_time_that_stands_twice_is_named_by_its_row(
    upload: Upload, tmp_path: Path, bundle_numbers: int
) -> None:
    """Row and line are those of the file, wherever the rows of the series stand in it."""
    lines = panel().splitlines()
    lines.insert(30, "2024-01-02,s5,7")
    path, profile = upload("fine.csv", panel())
    path.write_text("\n".join(lines))
    with pytest.raises(DatasetUnparseableError) as error:
        list(source(path, profile, tmp_path).rows(0))
    assert error.value.detail == (
        'row 30 (line 31), column "date": the same time stands on row 12 of series "s5"'
    )


def test_numbers_are_times_only_if_all_of_them_are(
    upload: Upload, tmp_path: Path, bundle_numbers: int
) -> None:
    """In a bundle of its own, series "a" looks as if it had seconds since 1970."""
    content = "time,series_id,value\n" + "".join(
        f"{time},{name},1\n"
        for name, start in (("a", 10**9), ("b", 5))
        for time in (start, start + 1)
    )
    rows = list(source(*upload("panel.csv", content), tmp_path).rows(0))
    assert [row.covariates.start for row in rows] == [None, None]


def test_timesteps_that_are_absent_are_missing_values(
    upload: Upload, tmp_path: Path, bundle_numbers: int
) -> None:
    """For a model that reads the calendar, as in its training."""
    content = "date,series_id,value\n" + "".join(
        f"2024-01-{day:02},{name},{day}\n" for day in (1, 2, 5) for name in "ab"
    )
    calendar = {"calendar": True, "frequency": "1d"}
    rows = list(source(*upload("panel.csv", content), tmp_path, **calendar).rows(0))
    assert [row.name for row in rows] == ["a", "b"]
    for row in rows:
        np.testing.assert_array_equal(row.values, [1, 2, np.nan, np.nan, 5])


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_every_column_is_a_series(
    upload: Upload, tmp_path: Path, bundle_numbers: int, done: int
) -> None:
    content = "date,x,y,z\n" + "".join(f"2024-01-0{d},{d},{d * 10},{d * 100}\n" for d in (2, 1))
    found = source(*upload("wide.csv", content), tmp_path, target_columns=["*"])
    assert found.total == 3
    each = {"x": [1, 2], "y": [10, 20], "z": [100, 200]}
    assert values(list(found.rows(done))) == dict(list(each.items())[done:])
