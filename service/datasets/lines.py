"""Lines of a UTF-8 file, one at a time and of bounded length."""

from collections.abc import Iterator
from pathlib import Path

from service.datasets.places import shown
from service.errors import DatasetUnparseableError, Fault

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Lines:
    """Iterates over a file's decoded lines, each with its ending, and knows where it is.

    `row_bytes` counts since it was last set to zero: a CSV row may span lines, and its reader
    would otherwise hold a row of any size. Raises `DatasetUnparseableError` for a row that is
    too long and for bytes that are not UTF-8.
    """

    def __init__(self, path: Path, max_row_bytes: int) -> None:
        self._path = path
        self._max_row_bytes = max_row_bytes
        self.number = 0
        self.row_bytes = 0
        self.has_nul = False
        self.has_escape = False

    def __iter__(self) -> Iterator[str]:
        with self._path.open("rb") as file:
            while raw := file.readline(self._max_row_bytes + 1):
                self.number += 1
                self.row_bytes += len(raw)
                if self.row_bytes > self._max_row_bytes:
                    raise self._fault(
                        f"a row of more than {self._max_row_bytes} bytes ends here or goes on;"
                        " is a quote opened and never closed?"
                    )
                if self.number == 1:
                    raw = raw.removeprefix(BYTE_ORDER_MARK)
                self.has_nul = self.has_nul or b"\0" in raw
                self.has_escape = b"\\u" in raw
                try:
                    yield raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise self._fault(not_utf8(raw, error.start)) from None

    def _fault(self, message: str) -> DatasetUnparseableError:
        location = ("body", "file", self.number)
        return DatasetUnparseableError(
            f"line {self.number}: {message}", faults=[Fault(location, message)]
        )


def not_utf8(raw: bytes, offset: int) -> str:
    """Names the byte that is no UTF-8, with what stands before it."""
    before = raw[max(0, offset - 20) : offset].decode("utf-8", "replace")
    return (
        f"byte {offset + 1} of the line (0x{raw[offset]:02x}, after {shown(before)}) is not UTF-8"
    )
