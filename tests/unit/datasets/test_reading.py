"""A job gets the examples that its columns hold; a person the first rows."""

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from rnn.config import TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from service.datasets.limits import Limits
from service.datasets.profile import fit_profile, profile_file
from service.datasets.reading import load_examples, preview
from service.datasets.roles import assign_columns
from service.errors import ValidationError
from tests.unit.datasets.conftest import Write

PANEL = """date,shop,sales,visitors
2024-01-02,b,2.5,20
2024-01-01,b,1.5,10
2024-01-01,a,10,7
2024-01-03,b,,30
2024-01-02,a,20,8
"""


def config(task: str, **data: Any) -> TaskConfig:
    adapter: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
    return adapter.validate_python({"task": task, "data": data})


def load(write: Write, content: str, filename: str, config: TaskConfig) -> Examples:
    path = write(content)
    profile = profile_file(path, filename, Limits())
    return load_examples(path, profile, assign_columns(config, profile))


def test_series_are_sorted_by_time_and_keep_missing_values(write: Write) -> None:
    examples = load(
        write, PANEL, "data.csv", config("time-series-forecasting", target_column="sales")
    )
    assert isinstance(examples, SeriesExamples)
    assert examples.ids == ["b", "a"]
    np.testing.assert_array_equal(examples.values[0], [1.5, 2.5, np.nan])
    np.testing.assert_array_equal(examples.values[1], [10, 20])
    assert examples.starts == [datetime(2024, 1, 1, tzinfo=UTC)] * 2
    assert examples.frequency == "1d"


def test_without_times_the_order_of_the_file_holds(write: Write) -> None:
    content = "id,value\n" + "".join(f"{'ab'[i % 2]},{9 - i}\n" for i in range(6))
    examples = load(write, content, "data.csv", config("time-series-forecasting"))
    assert isinstance(examples, SeriesExamples)
    assert [list(values) for values in examples.values] == [[9, 7, 5], [8, 6, 4]]
    assert examples.starts == [None, None]


def test_wide_series(write: Write) -> None:
    lines = [{"id": "x", "target": [1, None, 3]}, {"id": "y", "target": [4.5]}]
    content = "\n".join(json.dumps(line) for line in lines)
    examples = load(write, content, "data.jsonl", config("time-series-forecasting"))
    assert isinstance(examples, SeriesExamples)
    assert examples.ids == ["x", "y"]
    np.testing.assert_array_equal(examples.values[0], [1, np.nan, 3])
    np.testing.assert_array_equal(examples.values[1], [4.5])


def test_labelled_texts_with_official_splits(write: Write) -> None:
    content = 'text,label,split\n"good, very",1,train\nbad,0,dev\n,1,test\nfine,1,test\n'
    examples = load(write, content, "data.csv", config("text-classification"))
    assert examples == TextExamples(
        ["good, very", "bad", "fine"], ["1", "0", "1"], ["train", "validation", "test"]
    )


def test_numbers_are_labels_as_they_are_written(write: Write) -> None:
    content = '{"text": "one two", "label": 1}\n{"text": "two three", "label": 0}'
    examples = load(write, content, "data.jsonl", config("text-classification"))
    assert examples == TextExamples(["one two", "two three"], ["1", "0"], None)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_plain_text_is_its_bytes(write: Write, mark: str) -> None:
    examples = load(write, mark + "süß\nund\n", "story.txt", config("text-generation"))
    assert isinstance(examples, CorpusExamples)
    assert examples.data.dtype == np.uint8
    assert bytes(examples.data) == "süß\nund\n".encode()


def test_a_text_column_is_joined_and_measured_alike(write: Write) -> None:
    content = '{"text": "süß one"}\n{"text": "two\\nlines"}\n{"text": null}'
    path = write(content)
    profile = profile_file(path, "data.jsonl", Limits())
    examples = load_examples(path, profile, assign_columns(config("text-generation"), profile))
    assert isinstance(examples, CorpusExamples)
    assert bytes(examples.data).decode() == "süß one\ntwo\nlines\n"
    text = "süß one\ntwo\nlines\n"
    assert profile["text"] == {
        "characters": len(text),
        "bytes": len(text.encode()),
        "lines": 3,
        "text_column": "text",
        "split_column": None,
        "splits": None,
    }


def test_an_open_target_must_be_chosen(write: Write) -> None:
    profile = profile_file(write(PANEL), "data.csv", Limits())
    with pytest.raises(ValidationError, match=r"must be chosen.*sales, visitors") as caught:
        assign_columns(config("time-series-forecasting"), profile)
    assert caught.value.faults[0].location == ("body", "data", "target_column")


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({"target_column": "profit"}, "target_column", "no column.*sales, visitors"),
        ({"target_column": "shop"}, "target_column", "holds text"),
        ({"target_column": "sales", "time_column": "shop"}, "time_column", "holds text"),
        ({"target_column": "sales", "time_column": "sales"}, "target_column", "two things"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused(
    write: Write, data: dict[str, str], field: str, message: str
) -> None:
    profile = profile_file(write(PANEL), "data.csv", Limits())
    with pytest.raises(ValidationError, match=message) as caught:
        assign_columns(config("time-series-forecasting", **data), profile)
    assert caught.value.faults[0].location == ("body", "data", field)


def test_plain_text_has_no_column_to_choose(write: Write) -> None:
    profile = profile_file(write("some text"), "story.txt", Limits())
    with pytest.raises(ValidationError, match="plain text"):
        assign_columns(config("text-generation", text_column="text"), profile)


def test_the_profile_follows_the_columns_that_a_job_chooses(write: Write) -> None:
    rows = [f"{i},{'xyz'[i % 3]},words {i},{'ab'[i % 2]}" for i in range(30)]
    path = write("\n".join(["y,group,text,label", *rows]))
    profile = profile_file(path, "data.csv", Limits())
    assert (
        fit_profile(path, profile, assign_columns(config("text-classification"), profile))
        is profile
    )
    chosen = assign_columns(config("text-classification", label_column="group"), profile)
    assert fit_profile(path, profile, chosen)["labels"]["counts"] == {"x": 10, "y": 10, "z": 10}
    forecast = config("time-series-forecasting", target_column="y", series_column="group")
    fitted = fit_profile(path, profile, assign_columns(forecast, profile))
    assert (fitted["series"]["series"], fitted["series"]["min_length"]) == (3, 10)


def test_an_unknown_split_is_named_when_it_is_read(write: Write) -> None:
    content = "text,label,part\ngood words,a,train\nbad words,b,later\n"
    with pytest.raises(Exception, match=r'row 2 \(line 3\), column "part": "later" is not one of'):
        load(write, content, "data.csv", config("text-classification", split_column="part"))


def test_a_preview_shows_the_first_rows_cut(write: Write) -> None:
    content = "text,label\n" + f"{'x' * 600},a\n=1+1,\n" + "more,b\n" * 50
    path = write(content)
    rows = preview(path, profile_file(path, "data.csv", Limits()), rows=3)
    assert rows[1:] == [{"text": "=1+1", "label": None}, {"text": "more", "label": "b"}]
    assert len(rows[0]["text"]) == 501


def test_a_preview_of_lists_and_of_plain_text(write: Write) -> None:
    path = write(json.dumps({"target": [0.5] * 80}))
    assert preview(path, profile_file(path, "a.jsonl", Limits()), 5) == [{"target": [0.5] * 50}]
    path = write("one\r\ntwo\nthree")
    assert preview(path, profile_file(path, "a.txt", Limits()), 2) == [
        {"text": "one"},
        {"text": "two"},
    ]


def test_a_preview_holds_no_endless_line(write: Write) -> None:
    """A text of 2 GiB without a line break was read and decoded whole for its first 500 letters."""
    path = write("é" * (8 * 2**20))
    tracemalloc.start()
    try:
        rows = preview(path, {"format": "text"}, 20)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == [{"text": "é" * 500 + "…"}]
    assert peak_bytes < 2**20


@pytest.mark.parametrize("before", range(4))
def test_a_preview_may_end_within_a_character(write: Write, before: int) -> None:
    path = write("\ufeff" + "x" * before + "😀" * 10_000)
    [row] = preview(path, {"format": "text"}, 1)
    assert row["text"] == ("x" * before + "😀" * 500)[:500] + "…"


def test_a_preview_shows_a_short_line_whole_after_long_ones(write: Write) -> None:
    """The head that is read ends within the last line: it is read to its end."""
    path = write("x" * 3_999 + "\n" + "short enough\nmore\n")
    assert preview(path, {"format": "text"}, 2)[1:] == [{"text": "short enough"}]
    assert preview(write("\n\u2028a\n"), {"format": "text"}, 5) == [
        {"text": ""},
        {"text": "\u2028a"},
    ]


SPLIT_TEXT = (
    "text,part,more\n"
    "one two,train,x\nthrée,dev,y\nfour,TEST,z\n,train,x\nfive,train,y\nsix six,validation,z\n"
)


def test_running_text_comes_in_the_parts_of_a_split_column(write: Write) -> None:
    path = write(SPLIT_TEXT)
    profile = profile_file(path, "data.csv", Limits())
    chosen = assign_columns(
        config("text-generation", text_column="text", split_column="part"), profile
    )
    examples = load_examples(path, profile, chosen)
    assert isinstance(examples, CorpusExamples)
    texts = ["one two\nfive\n", "thrée\nsix six\n", "four\n"]
    assert bytes(examples.data).decode() == "".join(texts)
    assert examples.parts == tuple(len(text.encode()) for text in texts)
    described = fit_profile(path, profile, chosen)["text"]
    assert described["bytes"] == len(examples.data)
    assert described["splits"] == dict(
        zip(("train", "validation", "test"), examples.parts, strict=True)
    )


def test_running_text_is_split_only_where_a_job_says_so(write: Write) -> None:
    path = write(SPLIT_TEXT)
    profile = profile_file(path, "data.csv", Limits())
    chosen = assign_columns(config("text-generation", text_column="text"), profile)
    examples = load_examples(path, profile, chosen)
    assert isinstance(examples, CorpusExamples)
    assert examples.parts is None
    assert bytes(examples.data).decode() == "one two\nthrée\nfour\nfive\nsix six\n"
    assert fit_profile(path, profile, chosen)["text"]["splits"] is None


@pytest.mark.parametrize(
    ("content", "name", "data", "message"),
    [
        (SPLIT_TEXT, "a.csv", {"split_column": "none"}, "no column"),
        (SPLIT_TEXT, "a.csv", {"text_column": "part", "split_column": "part"}, "two things"),
        ("plain text", "a.txt", {"split_column": "part"}, "plain text"),
    ],
)
def test_a_split_column_that_cannot_be_used_is_refused(
    write: Write, content: str, name: str, data: dict[str, str], message: str
) -> None:
    profile = profile_file(write(content), name, Limits())
    with pytest.raises(ValidationError, match=message):
        assign_columns(config("text-generation", **data), profile)
