"""What is JSON here and what is not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import strict_json
from service.errors import MalformedJsonError, ValidationError

PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(PLAIN_TEXT, inner),
)  # fmt: skip


@given(VALUES)
def test_every_json_value_is_read_as_it_is(value: Any) -> None:
    for ascii_only in (True, False):
        assert strict_json.parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"a": 1,}', "line 1"),
        (b"{'a': 1}", "line 1"),
        (b'{"a": 1} {"a": 2}', "Extra data"),
        (b'"tab\tinside"', "Invalid control character"),
        (b"\xff\xfe{}", "Byte 0 is not UTF-8"),
        (b'{"a": "\xc3("}', "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),  # an encoded surrogate
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a": [Infinity]}', "Infinity is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' appears twice"),
        (b'{"x": {"a": 1, "\\u0061": 3}}', "'a' appears twice"),
        (b"9" * 5_000, "too many digits"),
        (b'{"seed": -' + b"9" * 5_000 + b"}", "too many digits"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "deeper than 64"),
        (b"[" * 100_000, "deeper than 64"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b'[{"a":' * 33 + b"1" + b"}]" * 33, "deeper than 64"),
    ],
)
def test_what_two_readers_may_differ_on_is_malformed(body: bytes, said: str) -> None:
    with pytest.raises(MalformedJsonError, match=said):
        strict_json.parse(body)


@pytest.mark.parametrize(
    "value",
    [
        [[]] * 1_000,
        {"a": "[" * 1_000, "b": '{"\\' * 1_000, "c": "]" * 3},
        json.loads("[" * 64 + "]" * 64),
        [{"k": ['"[', "\\"]}] * 100,
    ],
)
def test_many_brackets_are_not_depth(value: Any) -> None:
    assert strict_json.parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "location"),
    [
        (rb'"\u0000"', ("body",)),
        (rb'{"name": "a\u0000b"}', ("body", "name")),
        (rb'{"texts": ["fine", "\ud800"]}', ("body", "texts", 1)),
        (rb'{"texts": ["fine", "x\uDFFFx"]}', ("body", "texts", 1)),
        (rb'{"metadata": {"a": {"b\u0000": 1}}}', ("body", "metadata", "a", "b\0")),
    ],
)
def test_texts_that_cannot_be_stored_are_named(body: bytes, location: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError) as refusal:
        strict_json.parse(body)
    assert [fault.location for fault in refusal.value.faults] == [location]


def test_pairs_of_surrogates_and_escaped_backslashes_are_fine() -> None:
    assert strict_json.parse(rb'["\ud83d\ude00", "\\u0000", "\\ud800"]') == [
        "\U0001f600",
        "\\u0000",
        "\\ud800",
    ]
