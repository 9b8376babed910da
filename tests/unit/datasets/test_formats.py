"""Bytes decide whether a file is accepted, its name which of the accepted formats it is."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from service.datasets.formats import detect
from service.errors import (
    ArchiveUnsafeError,
    DatasetUnparseableError,
    ServiceError,
    UnsupportedMediaTypeError,
)
from tests.unit.datasets.conftest import Profile, Write

TABLE = "text,label\ngood words,a\nbad words,b\n"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../x"))
    return buffer.getvalue()


def saved_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("filename", ["data.csv", "data.txt", "data.jsonl", None])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(zipped("../../x"), ArchiveUnsafeError, id="zip"),
        pytest.param(tarred(), ArchiveUnsafeError, id="tar"),
        pytest.param(zipped("net/data.pkl", "net/version"), UnsupportedMediaTypeError, id="torch"),
        pytest.param(zipped("a.npy"), UnsupportedMediaTypeError, id="npz"),
        pytest.param(pickle.dumps({"a": [1]}), UnsupportedMediaTypeError, id="pickle"),
        pytest.param(saved_array(), UnsupportedMediaTypeError, id="npy"),
        pytest.param(b"PAR1" + b"\x15\x04" * 50, UnsupportedMediaTypeError, id="parquet"),
        pytest.param(b"\x28\xb5\x2f\xfd" + b"a" * 50, UnsupportedMediaTypeError, id="zstd"),
        pytest.param(b"\x1f\x8b\x08" + b"a" * 50, UnsupportedMediaTypeError, id="gzip in gzip"),
        pytest.param(bytes(range(1, 32)) * 20, UnsupportedMediaTypeError, id="control bytes"),
        pytest.param("a,b\n1,2\n".encode("utf-16"), DatasetUnparseableError, id="utf-16"),
    ],
)
def test_what_is_not_text_is_refused_under_any_name(
    profile: Profile, content: bytes, kind: type[ServiceError], filename: str | None
) -> None:
    with pytest.raises(kind):
        profile(content, filename)


@pytest.mark.parametrize(
    ("filename", "content", "expected"),
    [
        ("a.csv", TABLE, "csv"),
        ("A.CSV.gz", TABLE, "csv"),
        ("a.txt", TABLE, "text"),
        ("a.jsonl", '{"a": 1}', "jsonl"),
        ("..\\a.ndjson", '{"a": 1}', "jsonl"),
        (None, TABLE, "csv"),
        ("upload", '{"a": 1}\n{"a": 2}', "jsonl"),
        ("upload", "Once upon a time,\nthere was a king, a queen, and a cat.\n", "text"),
        ("upload", "one line, two words", "text"),
    ],
)
def test_the_name_decides_and_without_one_the_first_lines(
    write: Write, filename: str | None, content: str, expected: str
) -> None:
    assert detect(write(content), filename).name == expected


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_the_delimiter_is_found_in_the_header(profile: Profile, delimiter: str) -> None:
    found = profile(TABLE.replace(",", delimiter))
    assert found["delimiter"] == delimiter
    assert found["labels"]["counts"] == {"a": 1, "b": 1}
