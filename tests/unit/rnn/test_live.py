"""The bytes that are kept between two steps."""

import hashlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn.errors import LiveStateError
from rnn.live import Kept, pack, unpack

NETWORK = "a" * 64
KEPT = Kept(
    {"count": 3, "list": [1, 2], "text": "é"},
    {"some": np.arange(6.0).reshape(2, 3), "none": np.empty((0, 4))},
)
STATE = pack("text-generation", NETWORK, KEPT)


def test_what_is_kept_comes_back() -> None:
    kept = unpack(STATE, "text-generation", NETWORK)
    assert kept.values == KEPT.values
    np.testing.assert_array_equal(kept.array("some", np.float64, 2, None), KEPT.arrays["some"])
    assert kept.array("none", np.float64, 0, 4).shape == (0, 4)
    assert (kept.count("count"), kept.counts("list", 3), kept.text("text")) == (3, [1, 2], "é")


def test_the_state_of_another_task_or_network_is_refused() -> None:
    with pytest.raises(LiveStateError, match="task is 'text-generation'"):
        unpack(STATE, "text-classification", NETWORK)
    with pytest.raises(LiveStateError, match="network"):
        unpack(STATE, "text-generation", "b" * 64)


@given(st.integers(0, 8 * len(STATE) - 1))
def test_one_wrong_bit_is_seen(bit: int) -> None:
    damaged = bytearray(STATE)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LiveStateError):
        unpack(bytes(damaged), "text-generation", NETWORK)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        pickle.dumps({"header": 1}),
        STATE[32:-1],
        STATE[32:].replace(b"header", b"hedear"),
        STATE[32:].replace(b'"text-generation"', b"[text-generation]"),
        STATE[32:].replace(b'"format_version": 1', b'"format_version": 2'),
        STATE[32:].replace(b'"values"', b'"volume"'),
    ],
)
def test_what_is_no_state_is_refused_whoever_signed_it(body: bytes) -> None:
    assert body != STATE[32:]
    with pytest.raises(LiveStateError):
        unpack(hashlib.sha256(body).digest() + body, "text-generation", NETWORK)


def test_arrays_and_numbers_of_another_form_are_refused() -> None:
    with pytest.raises(LiveStateError, match="lacks 'other'"):
        KEPT.array("other", np.float64)
    for wrong in ((np.float32, 2, 3), (np.float64, 2, 4), (np.float64, 6)):
        with pytest.raises(LiveStateError, match="'some'"):
            KEPT.array("some", *wrong)  # type: ignore[arg-type]
    with pytest.raises(LiveStateError, match="'count'"):
        KEPT.count("count", 3)
    with pytest.raises(LiveStateError, match="'list'"):
        KEPT.counts("list", 2)
    for name in ("count", "missing"):
        with pytest.raises(LiveStateError):
            KEPT.counts(name, 9)
        with pytest.raises(LiveStateError):
            KEPT.text(name)
    for value in (-1, 1.0, True, "1", None):
        with pytest.raises(LiveStateError):
            Kept({"n": value}).count("n")
