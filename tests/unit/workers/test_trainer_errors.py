import errno

import pytest

from rnn.errors import (
    CheckpointError,
    ConfigError,
    DataTooSmallError,
    DivergedError,
    MemoryShortError,
)
from service.errors import DatasetUnparseableError
from workers.trainer_errors import MAX_DETAIL, explain


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (DivergedError("the loss is nan"), "diverged", "the loss is nan"),
        (DataTooSmallError("3 rows"), "dataset-too-small", "3 rows"),
        (ConfigError("no"), "validation-error", "no"),
        (CheckpointError("torn"), "checkpoint-invalid", "torn"),
        (DatasetUnparseableError("line 3"), "dataset-unparseable", "line 3"),
        (OSError(errno.ENOSPC, "x"), "insufficient-storage", "no space left"),
        (OSError(errno.EIO, "bad disk"), "trainer-error", "bad disk"),
        (MemoryError(), "out-of-memory", "more memory"),
        (OutOfMemoryError("CUDA: 2 GiB"), "out-of-memory", "2 GiB"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory", "allocate"),
        (MemoryShortError("not for one row"), "out-of-memory", "not for one row"),
        (KeyError("x"), "trainer-error", "KeyError: 'x'"),
        (RuntimeError("first\nsecond"), "trainer-error", "RuntimeError: first"),
    ],
)
def test_explain(error: Exception, kind: str, words: str) -> None:
    found, detail = explain(error)
    assert found == kind
    assert words in detail
    assert "\n" not in detail


def test_a_detail_is_bounded() -> None:
    assert len(explain(RuntimeError("x" * 10_000))[1]) == MAX_DETAIL


def test_a_detail_can_be_stored_whatever_it_quotes() -> None:
    """PostgreSQL refuses NUL in a JSON text, and a lone surrogate has no UTF-8."""
    detail = explain(RuntimeError("a\x00b\ud800c"))[1]
    assert "\x00" not in detail
    assert detail.encode()
