"""Columns beside the target, and tables of which every column is a series."""

import json
from typing import Any

import numpy as np
import pytest

from rnn.config import ForecastingConfig, TaskConfig
from rnn.config.forecasting import StaticColumn
from rnn.data.examples import SeriesExamples
from rnn.inherit import inherit
from rnn.resolve import resolve
from service.datasets import timesteps
from service.datasets.limits import Limits
from service.datasets.profile import fit_profile, profile_file
from service.datasets.reading import load_examples
from service.datasets.roles import assign_columns
from service.errors import DatasetUnparseableError, ValidationError
from tests.unit.datasets.conftest import Write

PANEL = """date,shop,sales,visitors,holiday,region,size
2024-01-02,b,2.5,20,0,south,7
2024-01-01,b,1.5,10,1,south,7
2024-01-01,a,10,7,1,north,
2024-01-03,b,,30,,,7
2024-01-02,a,20,,0,north,3
"""
COVARIATES: dict[str, Any] = {
    "target_column": "sales",
    "past_covariates": ["visitors"],
    "future_covariates": ["holiday"],
    "static_covariates": ["region", "size"],
}
WEATHER = "date,wind,rain,sun,note\n" + "".join(
    f"2024-01-{day:02},{day},{10 * day},{100 + day},x{day}\n" for day in range(1, 29)
)


def config(**data: Any) -> ForecastingConfig:
    return ForecastingConfig.model_validate({"task": "time-series-forecasting", "data": data})


def load(write: Write, content: str, filename: str = "data.csv", **data: Any) -> SeriesExamples:
    examples, _ = load_resolved(write, content, filename, **data)
    return examples


def load_resolved(
    write: Write, content: str, filename: str = "data.csv", **data: Any
) -> tuple[SeriesExamples, TaskConfig]:
    path = write(content)
    profile = profile_file(path, filename, Limits())
    assigned = assign_columns(config(horizon=1, **data), profile)
    fitted = dict(fit_profile(path, profile, assigned))
    fitted["series"] |= {"min_length": 28, "max_length": 28, "median_length": 28, "points": 56}
    resolved = resolve(assigned, fitted)
    examples = load_examples(path, profile, resolved)
    assert isinstance(examples, SeriesExamples)
    return examples, resolved


def test_covariates_stand_beside_their_timestep(write: Write) -> None:
    examples = load(write, PANEL, **COVARIATES)
    assert examples.ids == ["b", "a"]
    assert examples.past_covariates is not None
    np.testing.assert_array_equal(examples.past_covariates[0], [[10], [20], [30]])
    np.testing.assert_array_equal(examples.past_covariates[1], [[7], [np.nan]])
    assert [len(values) for values in examples.values] == [2, 2]
    assert examples.future_covariates is not None
    np.testing.assert_array_equal(examples.future_covariates[0], [[1], [0], [np.nan]])
    np.testing.assert_array_equal(examples.future_covariates[1], [[1], [0]])


def test_static_columns_are_coded_once_and_kept_in_the_configuration(write: Write) -> None:
    examples, resolved = load_resolved(write, PANEL, **COVARIATES)
    assert isinstance(resolved, ForecastingConfig)
    assert resolved.data.static_columns == [
        StaticColumn(column="region", words=["north", "south"]),
        StaticColumn(column="size", location=5.0, scale=2.0),
    ]
    np.testing.assert_array_equal(examples.static_covariates, [[1, 7], [0, 3]])  # type: ignore[arg-type]


def test_a_series_without_its_static_value_is_marked(write: Write) -> None:
    content = PANEL.replace(",north,3", ",,")
    content = content.replace(",north,", ",,")
    examples = load(write, content, **COVARIATES)
    np.testing.assert_array_equal(examples.static_covariates, [[0, 7], [np.nan, np.nan]])  # type: ignore[arg-type]


def test_static_numbers_whose_spread_cannot_be_computed_are_refused(write: Write) -> None:
    content = PANEL.replace("south,7", "south,1e308").replace(",,7", ",,1e308")
    content = content.replace("north,3", "north,-1e308")
    with pytest.raises(ValidationError, match='"size" holds numbers too large') as caught:
        load(write, content, **COVARIATES)
    assert caught.value.faults[0].location == ("body", "data", "static_covariates", 1)


NUMBERS = {"column": "size", "location": 1, "scale": 4}


def test_a_given_coding_of_static_columns_stays(write: Write) -> None:
    given = [{"column": "region", "words": ["moon", "south"]}, NUMBERS]
    examples, resolved = load_resolved(write, PANEL, **COVARIATES, static_columns=given)
    assert isinstance(resolved, ForecastingConfig)
    assert resolved.data.static_columns == [StaticColumn.model_validate(each) for each in given]
    np.testing.assert_array_equal(examples.static_covariates, [[1, 7], [np.nan, 3]])  # type: ignore[arg-type]


def test_words_may_be_numbers_that_stand_for_kinds(write: Write) -> None:
    given = [{"column": "region", "words": ["north"]}, {"column": "size", "words": ["3", "7"]}]
    examples = load(write, PANEL, **COVARIATES, static_columns=given)
    np.testing.assert_array_equal(examples.static_covariates, [[np.nan, 1], [0, 0]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({"column": "region"}, 'codes "region" as a number, and it holds text: that needs words'),
        ({"column": "region", "words": ["a", "b", "a"]}, 'names "a" twice among the words'),
    ],
)
def test_a_given_coding_that_does_not_fit_its_column_is_refused(
    write: Write, first: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        load(write, PANEL, **COVARIATES, static_columns=[first, NUMBERS])
    assert caught.value.faults[0].location == ("body", "data", "static_columns", 0)


def test_a_coding_of_the_base_model_that_does_not_fit_is_refused(write: Write) -> None:
    chosen: dict[str, Any] = {"target_column": "sales", "static_covariates": ["region"]}
    _, base = load_resolved(write, PANEL.replace("south", "1").replace("north", "2"), **chosen)
    path = write(PANEL)
    profile = profile_file(path, "data.csv", Limits())
    assigned = assign_columns(inherit(config(**chosen), base), profile)
    with pytest.raises(ValidationError, match='codes "region" as a number') as caught:
        fit_profile(path, profile, assigned)
    assert caught.value.faults[0].location == ("body", "data", "static_columns", 0)


def test_a_static_covariate_that_changes_is_named(write: Write) -> None:
    content = PANEL.replace("2024-01-02,a,20,,0,north", "2024-01-02,a,20,,0,south")
    with pytest.raises(DatasetUnparseableError) as caught:
        load(write, content, **COVARIATES)
    assert caught.value.detail.startswith(
        'row 5 (line 6), column "region": "south", and row 3 of the same series says "north"'
    )


def test_too_many_words_are_refused(write: Write) -> None:
    rows = [f"2024-01-{1 + i % 2:02},s{i // 2},{i},word{i // 2}" for i in range(600)]
    with pytest.raises(ValidationError, match=r'"kind" holds 300 different words; 256') as caught:
        load(
            write,
            "\n".join(["date,shop,sales,kind", *rows]),
            target_column="sales",
            series_column="shop",
            static_covariates=["kind"],
        )
    assert caught.value.faults[0].location == ("body", "data", "static_covariates", 0)


def test_covariates_of_the_wide_form(write: Write) -> None:
    lines = [
        {"id": "x", "target": [1, None, 3], "price": [5, 6, None], "kind": "new"},
        {"id": "y", "target": [4.5, 5], "price": None, "kind": "old"},
    ]
    content = "\n".join(map(json.dumps, lines))
    data: dict[str, Any] = {
        "target_column": "target",
        "future_covariates": ["price"],
        "static_covariates": ["kind"],
    }
    examples = load(write, content, "data.jsonl", **data)
    assert examples.past_covariates is None
    assert examples.future_covariates is not None
    np.testing.assert_array_equal(examples.future_covariates[0], [[5], [6], [np.nan]])
    np.testing.assert_array_equal(examples.future_covariates[1], [[np.nan], [np.nan]])
    np.testing.assert_array_equal(examples.static_covariates, [[0], [1]])  # type: ignore[arg-type]
    longer = content.replace("[5, 6, null]", "[5, 6]")
    with pytest.raises(DatasetUnparseableError, match=r'row 1 .* "price": the list has 2 values'):
        load(write, longer, "data.jsonl", **data)


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        ({"past_covariates": ["profit"]}, ("past_covariates", 0), "is no column.*visitors"),
        ({"past_covariates": ["visitors", "region"]}, ("past_covariates", 1), "holds text"),
        ({"future_covariates": ["date"]}, ("future_covariates", 0), "holds time"),
        ({"future_covariates": ["sales"]}, ("future_covariates", 0), "two things"),
        ({"static_covariates": ["shop"], "series_column": "shop"}, ("static_covariates", 0), "two"),
        ({"past_covariates": ["size"] * 2}, ("past_covariates", 1), "two things"),
        (
            {"past_covariates": ["size"], "static_covariates": ["size"]},
            ("static_covariates", 0),
            "two things",
        ),
    ],
)
def test_a_covariate_that_cannot_be_used_is_refused(
    write: Write, data: dict[str, Any], place: tuple[str, int], message: str
) -> None:
    profile = profile_file(write(PANEL), "data.csv", Limits())
    with pytest.raises(ValidationError, match=message) as caught:
        assign_columns(config(**{"target_column": "sales", **data}), profile)
    assert caught.value.faults[0].location == ("body", "data", *place)


def test_a_column_that_was_guessed_to_tell_series_apart_may_be_a_covariate(write: Write) -> None:
    profile = profile_file(write(PANEL), "data.csv", Limits())
    assert profile["series"]["series_column"] == "shop"
    assigned = assign_columns(config(target_column="sales", static_covariates=["shop"]), profile)
    assert isinstance(assigned, ForecastingConfig)
    assert assigned.data.series_column is None


def test_columns_of_one_table_are_series(write: Write) -> None:
    examples = load(write, WEATHER, target_columns=["sun", "wind"], past_covariates=["rain"])
    assert examples.ids == ["sun", "wind"]
    np.testing.assert_array_equal(examples.values[0], np.arange(101.0, 129.0))
    np.testing.assert_array_equal(examples.values[1], np.arange(1.0, 29.0))
    assert examples.past_covariates is not None
    np.testing.assert_array_equal(examples.past_covariates[0], examples.past_covariates[1])
    assert examples.starts[0] == examples.starts[1]
    assert examples.frequency == "1d"


def test_all_columns_that_are_left_are_series(write: Write) -> None:
    path = write(WEATHER)
    profile = profile_file(path, "data.csv", Limits())
    assigned = assign_columns(config(target_columns=["*"], future_covariates=["rain"]), profile)
    assert isinstance(assigned, ForecastingConfig)
    assert assigned.data.target_columns == ["wind", "sun"]
    assert assign_columns(assigned, profile) == assigned
    series = fit_profile(path, profile, assigned)["series"]
    assert (series["series"], series["points"], series["frequency"]) == (2, 56, "1d")


def test_columns_of_many_series_are_named_after_both(write: Write) -> None:
    examples = load(write, PANEL, target_columns=["sales", "visitors"], series_column="shop")
    assert examples.ids == ["b.sales", "b.visitors", "a.sales", "a.visitors"]
    np.testing.assert_array_equal(examples.values[1], [10, 20, 30])
    np.testing.assert_array_equal(examples.values[2], [10, 20])


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        ({"target_columns": ["wind", "note"]}, ("target_columns", 1), "holds text.*wind, rain"),
        ({"target_columns": ["wind", "wind"]}, ("target_columns", 1), "two things"),
        ({"target_columns": ["wind"], "past_covariates": ["wind"]}, ("target_columns", 0), "two"),
        ({"target_columns": ["wind"], "target_column": "rain"}, ("target_columns",), "enough"),
        (
            {"target_columns": ["*"], "past_covariates": ["wind", "rain", "sun"]},
            ("target_columns",),
            "no numeric column left",
        ),
    ],
)
def test_target_columns_that_cannot_be_used_are_refused(
    write: Write, data: dict[str, Any], place: tuple[str, ...], message: str
) -> None:
    profile = profile_file(write(WEATHER), "data.csv", Limits())
    with pytest.raises(ValidationError, match=message) as caught:
        assign_columns(config(**data), profile)
    assert caught.value.faults[0].location == ("body", "data", *place)


def test_timesteps_of_which_only_covariates_are_known_go_on_after_the_values(write: Write) -> None:
    content = WEATHER + "2024-01-29,,9,,\n2024-01-30,,8,,\n"
    examples = load(write, content, target_column="wind", future_covariates=["rain"])
    assert len(examples.values[0]) == 28
    assert examples.future_covariates is not None
    assert examples.future_covariates[0][-3:, 0].tolist() == [280, 9, 8]
    without = load(write, content, target_column="wind", past_covariates=["rain"])
    assert np.isnan(without.values[0][-2:]).all()


def test_absent_timesteps_are_missing_values_where_the_calendar_is_read(write: Write) -> None:
    lines = WEATHER.splitlines(keepends=True)
    content = "".join(lines[:10] + lines[12:])
    data: dict[str, Any] = {"target_column": "wind", "future_covariates": ["rain"]}
    examples = load(write, content, calendar=True, **data)
    wanted = np.arange(1.0, 29.0)
    wanted[[9, 10]] = np.nan
    np.testing.assert_array_equal(examples.values[0], wanted)
    assert examples.future_covariates is not None
    np.testing.assert_array_equal(examples.future_covariates[0][:, 0], 10 * wanted)
    assert len(load(write, content, **data).values[0]) == 26


def test_absent_months_are_missing_values(write: Write) -> None:
    months = [f"{2020 + month // 12}-{1 + month % 12:02}" for month in range(60)]
    rows = [f"{month},{number}" for number, month in enumerate(months) if number not in (5, 30)]
    examples = load(write, "\n".join(["month,value", *rows]), calendar=True)
    assert examples.frequency == "1mo"
    assert np.flatnonzero(np.isnan(examples.values[0])).tolist() == [5, 30]


def test_a_gap_that_is_too_long_to_be_filled_is_refused(write: Write) -> None:
    """Two timesteps a second apart and one in fifty years would be a billion missing values."""
    rows = [f"2024-01-01 00:00:{second:02},{second}" for second in range(30)]
    rows.append("2074-01-01 00:00:00,1")
    with pytest.raises(ValidationError, match=r'1s, and series "1" has a gap of 1,577,') as caught:
        load(write, "\n".join(["time,value", *rows]), calendar=True)
    assert caught.value.faults[0].location == ("body", "data", "calendar")


def sparse(hours: range) -> str:
    rows = (
        f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00,{hour},{-hour},{7 * hour}" for hour in hours
    )
    return "\n".join(["time,oil,gas,wind", *rows])


def test_series_of_one_table_share_what_is_filled_beside_them(write: Write) -> None:
    """Two hundred targets must not hold two hundred copies of forty filled covariates."""
    examples = load(
        write,
        sparse(range(0, 270, 9)),
        target_columns=["oil", "gas"],
        past_covariates=["wind"],
        calendar=True,
        frequency="1h",
    )
    assert [len(values) for values in examples.values] == [262, 262]
    assert examples.values[1][9] == -9
    assert examples.past_covariates is not None
    assert examples.past_covariates[0] is examples.past_covariates[1]
    assert examples.past_covariates[0].shape == (262, 1)
    assert examples.past_covariates[0][9, 0] == 63
    assert np.isnan(examples.past_covariates[0][10, 0])


def test_shared_covariates_stay_shared_where_future_ones_are_read(write: Write) -> None:
    examples = load(
        write,
        sparse(range(60)) + "\n2024-01-03 13:00,,,5",
        target_columns=["oil", "gas"],
        future_covariates=["wind"],
        calendar=True,
    )
    assert [len(values) for values in examples.values] == [60, 60]
    assert examples.future_covariates is not None
    assert examples.future_covariates[0] is examples.future_covariates[1]
    assert examples.future_covariates[0][-2:, 0].tolist() == pytest.approx([np.nan, 5], nan_ok=True)


@pytest.mark.parametrize("most", [456, 455])
def test_what_is_filled_is_counted_in_values(
    write: Write, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Each target, and what they share once."""
    monkeypatch.setattr(timesteps, "MOST_FILLED_IN_ALL", most)
    data: dict[str, Any] = {"past_covariates": ["wind"], "calendar": True, "frequency": "1h"}
    content = sparse(range(0, 180, 9))  # 20 timesteps become 172
    if most >= 3 * 152:
        load(write, content, target_columns=["oil", "gas"], **data)
    else:
        with pytest.raises(ValidationError, match="a gap of 9: 456 values would be missing"):
            load(write, content, target_columns=["oil", "gas"], **data)
