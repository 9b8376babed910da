"""What is found in a good file: series, labelled texts, running text."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from time import process_time

import numpy as np
import pytest

from rnn.config import ForecastingConfig
from service.datasets import plain_csv, series
from service.datasets.batches import Batch
from service.datasets.columns import ColumnType
from service.datasets.limits import Limits
from service.datasets.profile import profile_file, profile_own
from service.datasets.roles import assign_columns
from service.datasets.series import SeriesRoles, SeriesTable
from service.errors import (
    DatasetEmptyError,
    DatasetNonfiniteError,
    DatasetUnparseableError,
    DatasetUnsafeTextError,
    ValidationError,
)
from tests.unit.datasets.conftest import Profile, Write

START = datetime(2024, 1, 1, tzinfo=UTC)


def hourly(hours: int, leave_out: tuple[int, ...] = (), form: str = "%Y-%m-%d %H:%M:%S") -> str:
    times = [(START + timedelta(hours=i)).strftime(form) for i in range(hours)]
    rows = [f"{time},{i % 24}" for i, time in enumerate(times) if i not in leave_out]
    return "\n".join(["timestamp,value", *rows])


def test_one_series_with_times(profile: Profile) -> None:
    found = profile(hourly(100, leave_out=(10, 50, 51)))
    assert found["series"] == {
        "series": 1,
        "points": 97,
        "min_length": 97,
        "median_length": 97,
        "max_length": 97,
        "lengths": [{"min_length": 97, "max_length": 97, "series": 1}],
        "frequency": "1h",
        "season_length": 24,
        "gaps": 2,
        "missing": 0,
        "target_column": "value",
        "time_column": "timestamp",
        "series_column": None,
        "wide": False,
    }
    assert found["tasks"] == ["time-series-forecasting"]
    assert (found["format"], found["rows"], found["duplicates"]) == ("csv", 97, 0)


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+01:00", "%Y-%m-%d %H:%M",
     "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%Y/%m/%d %H:%M:%S", "%s"],
)  # fmt: skip
def test_forms_of_times(profile: Profile, form: str) -> None:
    series = profile(hourly(24 * 40, form=form))["series"]
    assert (series["frequency"], series["gaps"]) == ("1h", 0)


@pytest.mark.parametrize(
    "content",
    ["sold,price\n1,4\n3,5\n", '"sold",price\n1,4\n3,5\n', '{"sold": 1, "price": 4}\n' * 2],
)
def test_two_numbers_of_which_none_is_named_as_the_target(profile: Profile, content: str) -> None:
    """No column had a role, and without a column no row was read."""
    series = profile(content, None)["series"]
    assert (series["target_column"], series["time_column"]) == (None, None)
    assert (series["series"], series["points"]) == (1, 2)


@pytest.mark.parametrize("id_column", ["series_id", "store"])
def test_many_series_in_long_form(profile: Profile, id_column: str) -> None:
    """A column of ids is found by its name, or because the times would stand twice without it."""
    rows = [
        f"{(START + timedelta(days=day)).date()},{store},{store * day}"
        for day in range(20)
        for store in (7, 3, 12)
        if not (store == 12 and day > 9)
    ]
    series = profile("\n".join([f"date,{id_column},y", *reversed(rows)]))["series"]
    assert (series["series"], series["points"]) == (3, 50)
    assert (series["min_length"], series["max_length"]) == (10, 20)
    bars = {bar["min_length"]: bar["series"] for bar in series["lengths"] if bar["series"]}
    assert bars == {10: 1, 20: 2}
    assert (series["frequency"], series["season_length"], series["gaps"]) == ("1d", 7, 0)
    assert series["series_column"] == id_column


def test_a_time_that_stands_twice_is_named(profile: Profile) -> None:
    rows = hourly(48).splitlines()
    rows.insert(30, rows[11].split(",")[0] + ",5")
    with pytest.raises(DatasetUnparseableError) as caught:
        profile("\n".join(rows))
    assert caught.value.detail.startswith(
        'row 30 (line 31), column "timestamp": the same time stands on row 11'
    )


def test_a_time_that_stands_twice_by_mistake_makes_no_panel(profile: Profile) -> None:
    """A column that happens to tell the two apart is not taken for the series' ids."""
    rows = [f"{line},{'ab'[i > 29]}" for i, line in enumerate(hourly(60).splitlines()[1:])]
    rows.insert(40, rows[11].replace(",a", ",b"))
    with pytest.raises(DatasetUnparseableError, match=r"row 41 .* stands on row 12"):
        profile("\n".join(["timestamp,value,shift", *rows]))


def test_a_time_may_stand_twice_in_different_series_only(profile: Profile) -> None:
    rows = ["a,2024-01-01,1", "b,2024-01-01,1", "a,2024-01-02,1", "b,2024-01-01,2"]
    with pytest.raises(DatasetUnparseableError, match=r'row 4 .* row 2 of series "b"'):
        profile("\n".join(["id,date,value", *rows]))


def test_row_numbers_are_no_series(profile: Profile) -> None:
    rows = [f"{i},{i * 0.5}" for i in range(30)]
    series = profile("\n".join(["id,value", *rows]))["series"]
    assert (series["series"], series["series_column"]) == (1, None)


def test_several_numbers_leave_the_target_open(profile: Profile) -> None:
    rows = [f"{i},{START + timedelta(hours=i)},{i * i},{-i}" for i in range(30)]
    series = profile("\n".join([",date,load,temperature", *rows]))["series"]
    assert series["target_column"] is None
    assert (series["frequency"], series["season_length"]) == ("1h", 24)


def test_wide_series_find_their_season_by_themselves(profile: Profile) -> None:
    generator = np.random.default_rng(0)
    lines = []
    for i in range(20):
        time = np.arange(300 + i)
        values = 50 + 0.1 * time + 10 * np.sin(2 * np.pi * time / 12 + i)
        values += generator.normal(size=len(time))
        lines.append(json.dumps({"id": f"s{i}", "start": "2024-01-01", "target": list(values)}))
    found = profile("\n".join(lines), "data.jsonl")
    series = found["series"]
    assert (series["series"], series["min_length"], series["max_length"]) == (20, 300, 319)
    assert (series["season_length"], series["frequency"], series["wide"]) == (12, None, True)
    assert (series["series_column"], series["time_column"]) == ("id", "start")
    assert [column["type"] for column in found["columns"]] == ["text", "time", "list"]


def test_labelled_texts(profile: Profile) -> None:
    rows = [
        f"some words number {i},{i % 3},{('train', 'dev', 'test')[i % 5 % 3]}" for i in range(30)
    ]
    found = profile("\n".join(["sentence,label,split", *rows, rows[0]]))
    assert found["labels"] == {
        "text_column": "sentence",
        "label_column": "label",
        "split_column": "split",
        "counts": {"0": 11, "1": 10, "2": 10},
        "splits": {"train": 13, "validation": 12, "test": 6},
        "median_tokens": 4,
    }
    assert found["series"] is None
    assert found["duplicates"] == 1
    assert found["tasks"] == ["text-classification", "text-generation"]


def test_rows_without_a_label_or_a_text_are_not_counted(profile: Profile) -> None:
    lines = ['{"text": "a b", "label": true}', '{"text": "c", "label": false}', '{"text": "d"}',
             '{"label": true}', '{"text": "  ", "label": true}']  # fmt: skip
    labels = profile("\n".join(lines), "data.jsonl")["labels"]
    assert labels["counts"] == {"false": 1, "true": 1}


def test_a_column_called_split_that_holds_something_else(profile: Profile) -> None:
    found = profile("text,label,split\ngood words,a,left\nbad words,b,right\n")
    assert found["labels"]["split_column"] is None


def test_one_label_is_nothing_to_learn(profile: Profile) -> None:
    assert profile("text,label\ngood words,a\nbad words,a\n")["tasks"] == ["text-generation"]


def test_plain_text_is_measured(profile: Profile) -> None:
    content = "Ein süßer Brei,\nund noch einer.\nEnde"
    found = profile(b"\xef\xbb\xbf" + content.encode(), "story.txt")
    assert found["text"] == {
        "characters": len(content),
        "bytes": len(content.encode()),
        "lines": 3,
        "text_column": None,
    }
    assert (found["rows"], found["columns"], found["tasks"]) == (3, [], ["text-generation"])


def test_characters_across_the_borders_of_chunks(profile: Profile) -> None:
    content = "a" + "é" * (2**20)
    assert profile(content, "story.txt")["text"]["characters"] == len(content)


@pytest.mark.parametrize("before", [10, 2**20 + 5])
def test_plain_text_that_is_not_utf8(profile: Profile, before: int) -> None:
    content = b"one\ntwo\n" + b"x" * before + b"\xff\nend"
    with pytest.raises(DatasetUnparseableError, match=r"^line 3: byte \d+ .*0xff"):
        profile(content, "story.txt")


def test_plain_text_with_nul(profile: Profile) -> None:
    with pytest.raises(DatasetUnsafeTextError, match="line 2"):
        profile("one\ntwo\0\n" + "x" * 100, "story.txt")


def test_white_space_is_no_text(profile: Profile) -> None:
    with pytest.raises(DatasetEmptyError):
        profile(" \n" * 50_000, "story.txt")


def test_texts_with_a_date_need_not_be_series(profile: Profile) -> None:
    """Two reviews of one day made a perfect classification set a bad series, and it was refused."""
    rows = [f"a film of number {i},{'ab'[i % 2]},2024-01-{i // 2 + 1:02d},{i}" for i in range(20)]
    found = profile("\n".join(["text,label,date,rating", *rows]))
    assert found["series"] is None
    assert found["labels"]["counts"] == {"a": 10, "b": 10}
    assert found["tasks"] == ["text-classification", "text-generation"]


@pytest.fixture
def short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_csv, "BATCH_ROWS", 5)


def dated(form: str, days: Iterable[int] = range(28)) -> str:
    times = [(START + timedelta(days=day)).strftime(form) for day in days]
    return "\n".join(["date,value", *[f"{time},{i}" for i, time in enumerate(times)]])


@pytest.mark.usefixtures("short_batches")
@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M"])
def test_later_rows_tell_days_from_months(profile: Profile, form: str) -> None:
    """The first batch alone chose the format, months first: row 13 was then no time at all."""
    found = profile(dated(form))
    assert found["columns"][0]["format"] == form
    assert (found["series"]["frequency"], found["series"]["gaps"]) == ("1d", 0)


@pytest.mark.usefixtures("short_batches")
def test_a_wrong_time_is_named_though_later_rows_tell_the_format(profile: Profile) -> None:
    """A single 01/14 among days that come first must not turn the rest into errors."""
    rows = dated("%d/%m/%Y").splitlines()
    rows[3] = "01/14/2024,3"
    with pytest.raises(DatasetUnparseableError, match=r'^row 3 .*"01/14/2024" is not a time'):
        profile("\n".join(rows))


@pytest.mark.usefixtures("short_batches")
@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y"])
def test_days_and_months_that_cannot_be_told_apart(profile: Profile, form: str) -> None:
    """Twelve days of January were silently read as twelve months, or the other way round."""
    with pytest.raises(DatasetUnparseableError) as caught:
        profile(dated(form, range(12)))
    value = "02/01/2024" if form == "%d/%m/%Y" else "01/02/2024"
    assert caught.value.detail.startswith(
        f'row 2 (line 3), column "date": "{value}" may be %m/%d/%Y or %d/%m/%Y'
    )
    assert "YYYY-MM-DD" in caught.value.detail


def test_dates_that_read_alike_either_way_are_taken(profile: Profile) -> None:
    """A refusal is for times that differ: 05/05 is the fifth of May both ways."""
    rows = [f"{month:02d}/{month:02d}/2024,{month}" for month in range(1, 13)]
    found = profile("\n".join(["date,value", *rows]))
    assert (found["columns"][0]["format"], found["series"]["points"]) == ("%m/%d/%Y", 12)


def test_undecided_dates_beside_labelled_texts(profile: Profile) -> None:
    """They keep a file from being series, not from being what it is."""
    rows = [f"a film of number {i},{'ab'[i % 2]},01/{i + 1:02d}/2024,{i}" for i in range(12)]
    found = profile("\n".join(["text,label,date,rating", *rows]))
    assert found["tasks"] == ["text-classification", "text-generation"]
    date = next(column for column in found["columns"] if column["name"] == "date")
    assert (date["type"], date["format"]) == ("time", None)
    config = ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "data": {"target_column": "rating", "time_column": "date"},
        }
    )
    with pytest.raises(ValidationError, match=r'time_column "date": days and months cannot'):
        assign_columns(config, found)


def test_few_columns_are_tried_as_ids(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every column of few values cost one more pass over the file: 50 flags, 50 passes."""
    passes: list[SeriesRoles] = []
    read = series.read_series

    def counted(batches: Iterable[Batch], roles: SeriesRoles) -> SeriesTable:
        passes.append(roles)
        return read(batches, roles)

    monkeypatch.setattr(series, "read_series", counted)
    flags = range(50)
    lines = ["date,value," + ",".join(f"flag{i}" for i in flags)]
    for i in range(400):
        day = START + timedelta(days=i // 8)
        lines.append(f"{day.date()},{i}," + ",".join(f"x{i * (j + 8) % 20}" for j in flags))
    with pytest.raises(DatasetUnparseableError, match="the same time stands"):
        profile("\n".join([*lines, lines[-1]]))
    assert len(passes) <= 4


def test_flags_do_not_crowd_out_the_ids(profile: Profile) -> None:
    """Columns of too few values to tell the rows of one time apart are not worth a pass."""
    lines = ["date,value,a,b,c,store"]
    for i in range(200):
        day = START + timedelta(days=i // 10)
        lines.append(f"{day.date()},{i * i},{i % 2},{i % 3},{i % 4},{i % 10}")
    found = profile("\n".join(lines))["series"]
    assert (found["series"], found["series_column"]) == (10, "store")


def test_a_table_as_wide_as_allowed_takes_no_quadratic_time(profile: Profile) -> None:
    """Asking a frame for its names once for each column took 25 s here for every batch."""
    names = [f"c{i}" for i in range(10_000)]
    before = process_time()
    found = profile("\n".join([",".join(names), *[",".join("1" * 10_000)] * 2]))
    assert len(found["columns"]) == 10_000
    assert process_time() - before < 8


def test_a_file_of_our_own_is_taken_at_its_word(write: Write) -> None:
    """What would be refused or guessed in an upload: words among numbers."""
    rows = [f'{{"row": {row}, "word": "{row}", "score": 0.5}}' for row in range(1, 10)]
    path = write("\n".join([*rows, '{"row": 10, "word": "none of them"}']))
    types: dict[str, ColumnType] = {"row": "number", "word": "text", "score": "number"}
    found = profile_own(path, types)
    assert {column["name"]: column["type"] for column in found["columns"]} == types
    assert [column["nulls"] for column in found["columns"]] == [0, 0, 1]
    assert (found["rows"], found["duplicates"], found["tasks"]) == (10, 0, [])
    with pytest.raises(DatasetNonfiniteError, match="none of them"):
        profile_file(path, "rows.jsonl", Limits())
