"""What kind of file this is, from its first bytes and, where they leave a choice, its name."""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from service.datasets.lines import BYTE_ORDER_MARK
from service.errors import (
    ArchiveUnsafeError,
    DatasetEmptyError,
    DatasetUnparseableError,
    UnsupportedMediaTypeError,
)

HEAD_BYTES = 64 * 1024
GZIP = b"\x1f\x8b"
ACCEPTED = "CSV, JSON Lines and plain text are accepted, also packed with gzip"

UNSUPPORTED = (
    (b"\x28\xb5\x2f\xfd", "a Zstandard file; pack it with gzip"),
    (b"\xfd7zXZ\x00", "an xz file; pack it with gzip"),
    (b"BZh", "a bzip2 file; pack it with gzip"),
    (GZIP, "a gzip file inside a gzip file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"%PDF-", "a PDF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
)
ARCHIVES = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
)
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
PICKLE = re.compile(rb"\x80[\x02-\x05]")
# In a document that happens to be packed as a zip, one of these names comes first.
ZIPPED_DOCUMENT = re.compile(
    rb"([^/]+/)?(data\.pkl|byteorder|\.data/|version)$|.*\.npy$|\[Content_"
)
CONTROL = frozenset(range(32)) - set(b"\t\n\r\f\x1b\0") | {127}
MAX_CONTROL_SHARE = 0.1

TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
TEXT_SUFFIXES = frozenset({".txt", ".text", ".md"})
DELIMITERS = ",\t;"


@dataclass(frozen=True)
class Format:
    name: str  # csv | jsonl | text
    delimiter: str | None = None  # of CSV


def detect(path: Path, filename: str | None) -> Format:
    """The format of an unpacked file.

    The name decides between the accepted formats, the bytes decide whether it is one of them.
    Raises `UnsupportedMediaTypeError` (binary files), `ArchiveUnsafeError`, `DatasetEmptyError`.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.removeprefix(BYTE_ORDER_MARK).strip() and path.stat().st_size <= HEAD_BYTES:
        raise DatasetEmptyError("the file is empty")
    refuse_binary(head)
    suffix = _suffix(filename)
    text = head.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace")
    if suffix in JSON_SUFFIXES:
        return Format("jsonl")
    if suffix in TABLE_SUFFIXES:
        return Format("csv", _delimiter(text))
    if suffix in TEXT_SUFFIXES:
        return Format("text")
    if _is_json_object(text):
        return Format("jsonl")
    if _is_table(text):
        return Format("csv", _delimiter(text))
    return Format("text")


def refuse_binary(head: bytes) -> None:
    """Raises for everything that is not text, whatever the file is called."""
    if head.startswith(ZIP):
        if ZIPPED_DOCUMENT.match(_first_zipped_name(head)):
            raise UnsupportedMediaTypeError(f"this is a zipped document or network; {ACCEPTED}")
        raise ArchiveUnsafeError(f"this is a zip archive; {ACCEPTED}")
    for magic, what in ARCHIVES:
        if head.startswith(magic):
            raise ArchiveUnsafeError(f"this is {what}; {ACCEPTED}")
    if head[257:262] == b"ustar":
        raise ArchiveUnsafeError(f"this is a tar archive; {ACCEPTED}")
    for magic, what in UNSUPPORTED:
        if head.startswith(magic):
            raise UnsupportedMediaTypeError(f"this is {what}; {ACCEPTED}")
    if PICKLE.match(head):
        raise UnsupportedMediaTypeError(f"this is a pickle; {ACCEPTED}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DatasetUnparseableError("line 1: this is UTF-16; save the file as UTF-8")
    control = sum(byte in CONTROL for byte in head[:4096])
    if control > MAX_CONTROL_SHARE * len(head[:4096]):
        raise UnsupportedMediaTypeError(f"this is a binary file; {ACCEPTED}")


def _first_zipped_name(head: bytes) -> bytes:
    """The name in the first local file header, which is at a fixed place."""
    length = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + length]


def _suffix(filename: str | None) -> str:
    if filename is None:
        return ""
    name = PurePosixPath(filename.lower().replace("\\", "/")).name
    return PurePosixPath(name.removesuffix(".gz")).suffix


def _delimiter(text: str) -> str:
    """The comma, unless the header has none and has tabs or semicolons."""
    header = text.split("\n", 1)[0]
    if "," in header:
        return ","
    return max(DELIMITERS, key=header.count)


def _is_json_object(text: str) -> bool:
    line = text.lstrip().split("\n", 1)[0]
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        # Cut by the end of the head, or broken: an opening brace and a quote say enough.
        return line[1:].lstrip().startswith('"')


def _is_table(text: str) -> bool:
    """Whether the first lines have one number of cells, at least two."""
    lines = text.splitlines()[:6]
    if len(lines) < 2:
        return False
    try:
        widths = {len(row) for row in csv.reader(lines, delimiter=_delimiter(text), strict=True)}
    except csv.Error:
        return False
    return len(widths) == 1 and widths.pop() > 1
