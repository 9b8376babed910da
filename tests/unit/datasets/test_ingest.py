"""Bytes are taken in one piece at a time, unpacked, counted and hashed."""

import gzip
import hashlib
import io
import tracemalloc

import pytest

from service.datasets.ingest import Intake, Received
from service.errors import (
    BodyTooLargeError,
    DatasetEmptyError,
    DatasetUnparseableError,
    DecompressedTooLargeError,
)

CONTENT = b"time,value\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(5_000))
MIB = 2**20


class Counting(io.RawIOBase):
    """A file that only remembers how much was written."""

    written = 0

    def write(self, data: object) -> int:
        self.written += len(data)  # type: ignore[arg-type]
        return len(data)  # type: ignore[arg-type]


def take(content: bytes, *, piece: int, max_bytes: int = MIB) -> tuple[bytes, Received]:
    file = io.BytesIO()
    intake = Intake(file, max_bytes)
    for start in range(0, len(content), piece):
        intake.write(content[start : start + piece])
    received = intake.finish()
    return file.getvalue(), received


@pytest.mark.parametrize("piece", [1, 7, 1000, MIB])
@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(CONTENT, id="plain"),
        pytest.param(gzip.compress(CONTENT), id="gzip"),
        pytest.param(gzip.compress(CONTENT[:999]) + gzip.compress(CONTENT[999:]), id="members"),
        pytest.param(gzip.compress(CONTENT) + bytes(100), id="padded"),
    ],
)
def test_the_stored_bytes_are_the_unpacked_ones(packed: bytes, piece: int) -> None:
    stored, received = take(packed, piece=piece)
    assert stored == CONTENT
    assert received == Received(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def test_a_single_byte_is_stored() -> None:
    assert take(b"\x1f", piece=1)[0] == b"\x1f"


@pytest.mark.parametrize(
    "content", [pytest.param(b"", id="empty"), pytest.param(gzip.compress(b""), id="packed")]
)
def test_nothing_is_empty(content: bytes) -> None:
    with pytest.raises(DatasetEmptyError):
        take(content, piece=10)


@pytest.mark.parametrize("piece", [1, MIB])
def test_a_gzip_file_that_is_cut_off(piece: int) -> None:
    with pytest.raises(DatasetUnparseableError, match="cut off"):
        take(gzip.compress(CONTENT)[:-4], piece=piece)


def test_a_gzip_file_that_is_damaged() -> None:
    packed = bytearray(gzip.compress(CONTENT))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(DatasetUnparseableError, match="damaged"):
        take(bytes(packed), piece=1000)


def test_the_limit_is_exact() -> None:
    assert len(take(b"x" * 1000, piece=100, max_bytes=1000)[0]) == 1000
    with pytest.raises(BodyTooLargeError):
        take(b"x" * 1001, piece=100, max_bytes=1000)
    assert len(take(gzip.compress(b"x" * 1000), piece=100, max_bytes=1000)[0]) == 1000
    with pytest.raises(DecompressedTooLargeError):
        take(gzip.compress(b"x" * 1001), piece=100, max_bytes=1000)


def test_a_bomb_costs_neither_memory_nor_disk() -> None:
    bomb = gzip.compress(bytes(200 * MIB))
    file = Counting()
    intake = Intake(file, 8 * MIB)  # type: ignore[arg-type]
    tracemalloc.start()
    with pytest.raises(DecompressedTooLargeError):
        intake.write(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert file.written <= 8 * MIB
    assert peak < 8 * MIB
