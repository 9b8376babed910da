"""What is wrong with a JSON Lines file is said with its row, line, key and value."""

import json

import pytest

from service.datasets.limits import Limits
from service.errors import (
    DatasetEmptyError,
    DatasetNonfiniteError,
    DatasetTooWideError,
    DatasetUnparseableError,
    DatasetUnsafeTextError,
    ServiceError,
)
from tests.unit.datasets.conftest import Profile

GOOD = '{"text": "good words", "label": "a"}\n{"text": "bad words", "label": "b"}\n'


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ('{"text": "x"', DatasetUnparseableError, "not JSON"),
        ('["x"]', DatasetUnparseableError, "an object"),
        ("[" * 100_000, DatasetUnparseableError, "nested too deep"),
        ('{"a":' * 100_000, DatasetUnparseableError, "nested too deep"),
        (f'{{"label": {"9" * 5_000}}}', DatasetUnparseableError, "more digits"),
        (f'{{"label": {"9" * 400}}}', DatasetNonfiniteError, "not a finite number"),
        ('{"label": 1e999}', DatasetNonfiniteError, '"inf" is not a finite number'),
        ('{"label": NaN}', DatasetNonfiniteError, "NaN is not a finite number"),
        ('{"label": {"a": 1}}', DatasetUnparseableError, 'column "label": "{'),
        ('{"label": ["a"]}', DatasetUnparseableError, "a list in a column that held single"),
        ('{"text": "a", "text": "b"}', DatasetUnparseableError, "stands twice"),
        ('{"text": "a\\u0000b"}', DatasetUnsafeTextError, "NUL character stands at position 2"),
        ('{"text": "a\\ud800"}', DatasetUnsafeTextError, "surrogate pair stands at position 2"),
        ('{"\\u0000": 1}', DatasetUnsafeTextError, "a key holds a forbidden"),
        ('{"": 1}', DatasetUnparseableError, "blank"),
    ],
)
def test_a_bad_line_is_named(
    profile: Profile, line: str, kind: type[ServiceError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        profile(f"{GOOD}\n{line}\n", "data.jsonl")
    assert caught.value.detail.startswith("row 3 (line 4)")
    assert message in caught.value.detail
    assert caught.value.faults[0].location[:3] == ("body", "file", 3)


@pytest.mark.parametrize("value", ['"1.5"', "true", "[1]", "1e999", f"1{'0' * 400}"])
def test_a_series_holds_only_finite_numbers_and_null(profile: Profile, value: str) -> None:
    good = '{"target": [1, 2.5, null]}\n'
    assert profile(good, "data.jsonl")["series"]["missing"] == 1
    with pytest.raises(DatasetNonfiniteError, match=r'row 2 .*column "target": .*index 1 of'):
        profile(f'{good}{{"target": [1, {value}]}}', "data.jsonl")


@pytest.mark.parametrize("target", ["[]", "[null]", "null"])
def test_a_series_without_a_value_is_named(profile: Profile, target: str) -> None:
    with pytest.raises(DatasetUnparseableError, match=r"row 2 .*the series holds no value"):
        profile(f'{{"target": [1, 2]}}\n{{"target": {target}}}', "data.jsonl")


def test_two_series_of_one_name(profile: Profile) -> None:
    line = '{"id": "a", "target": [1, 2]}\n'
    with pytest.raises(DatasetUnparseableError, match=r'row 2 .*"id".*stands on row 1 already'):
        profile(line + line, "data.jsonl")


def test_too_many_keys(profile: Profile) -> None:
    lines = "".join(json.dumps({f"k{i}": 1}) + "\n" for i in range(6))
    with pytest.raises(DatasetTooWideError, match=r"row 6 \(line 6\): more than the 5"):
        profile(lines, "data.jsonl", Limits(max_columns=5))


def test_a_line_that_is_too_long(profile: Profile) -> None:
    limits = Limits(max_cell_bytes=1024)
    line = json.dumps({"target": [1.5] * 5_000})
    with pytest.raises(DatasetUnparseableError, match="line 1: a row of more than 16384 bytes"):
        profile(line, "data.jsonl", limits)


def test_no_object_is_empty(profile: Profile) -> None:
    with pytest.raises(DatasetEmptyError):
        profile(b"\xef\xbb\xbf\n\n", "data.jsonl")


def test_a_key_that_appears_late_was_missing_before(profile: Profile) -> None:
    found = profile(GOOD + '{"text": "other words", "label": "a", "extra": 1}', "data.jsonl")
    assert found["columns"][2]["nulls"] == 2
    assert found["rows"] == 3


def test_lists_after_null_are_a_list_column(profile: Profile) -> None:
    found = profile(
        '{"other": null, "target": [1, 2]}\n{"other": [3], "target": [1]}', "data.jsonl"
    )
    assert [column["type"] for column in found["columns"]] == ["list", "list"]
