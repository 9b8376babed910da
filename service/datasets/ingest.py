"""Takes in a file as it arrives: unpacked, hashed and written, never whole in memory."""

import hashlib
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from service.datasets.formats import GZIP
from service.errors import (
    BodyTooLargeError,
    DatasetEmptyError,
    DatasetUnparseableError,
    DecompressedTooLargeError,
)

UNPACKED_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Received:
    """What was written: the digest and the size of the file as it is stored, unpacked."""

    sha256: str
    size_bytes: int


class Intake:
    """Writes a file's bytes to `file`; what begins like a gzip file is unpacked on the way.

    Raises `BodyTooLargeError` and `DecompressedTooLargeError` as soon as the limit is passed, so
    neither memory nor disk is used beyond it, and `DatasetUnparseableError` for a broken gzip file.
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._plain = _Plain(file, max_bytes)
        self._writer: _Plain | _Unpacker = self._plain
        self._begun = b""
        self._decided = False

    def write(self, data: bytes) -> None:
        if self._decided:
            self._writer.write(data)
            return
        self._begun += data
        if len(self._begun) >= len(GZIP):
            self._decide()

    def _decide(self) -> None:
        self._decided = True
        if self._begun.startswith(GZIP):
            self._writer = _Unpacker(self._plain)
        begun, self._begun = self._begun, b""
        self._writer.write(begun)

    def finish(self) -> Received:
        """To be called after the last byte."""
        if not self._decided:
            self._decide()
        self._writer.finish()
        return self._plain.received()


class _Plain:
    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self.size_bytes > self.max_bytes:
            raise BodyTooLargeError(f"the file has more than {self.max_bytes} bytes")
        self._digest.update(data)
        self._file.write(data)

    def finish(self) -> None:
        self._file.flush()
        if self.size_bytes == 0:
            raise DatasetEmptyError("the file is empty")

    def received(self) -> Received:
        return Received(self._digest.hexdigest(), self.size_bytes)


class _Unpacker:
    """A gzip file of one or many members."""

    def __init__(self, plain: _Plain) -> None:
        self._plain = plain
        self._member = zlib.decompressobj(wbits=31)

    def write(self, data: bytes) -> None:
        while data:
            if self._member.eof:
                data = data.lstrip(b"\0")  # some tools pad the last member with zeros
                if not data:
                    return
                self._member = zlib.decompressobj(wbits=31)
            try:
                piece = self._member.decompress(data, UNPACKED_PIECE_BYTES)
            except zlib.error:
                raise DatasetUnparseableError("the gzip file is damaged") from None
            if self._plain.size_bytes + len(piece) > self._plain.max_bytes:
                raise DecompressedTooLargeError(
                    f"the gzip file unpacks to more than {self._plain.max_bytes} bytes"
                )
            self._plain.write(piece)
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finish(self) -> None:
        if not self._member.eof:
            raise DatasetUnparseableError("the gzip file is cut off")
        self._plain.finish()
