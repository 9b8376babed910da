"""The fast way through a CSV file gives what the strict way gives, or is not taken."""

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.datasets import csv_rows, plain_csv
from service.datasets.limits import Limits
from service.errors import ServiceError
from tests.unit.datasets.conftest import Write

LIMITS = Limits()


def way(path: Path, columns: list[str] | None, *, row_by_row: bool) -> tuple[object, ...]:
    """All that a reading gives: rows, their lines, which rows are equal, or the error."""
    try:
        batches = list(csv_rows.read(path, ",", LIMITS, columns, row_by_row=row_by_row))
    except ServiceError as error:
        return type(error), error.detail
    frame = pl.concat([batch.frame for batch in batches])
    lines = [line for batch in batches for line in batch.lines]
    digests = [digest for batch in batches for digest in batch.digests.tolist()]
    equal_rows = [digests.index(digest) for digest in digests] if columns is None else None
    return frame.columns, frame.rows(), lines, equal_rows


CELLS = st.text(alphabet="a1.é €\t'#;\\=", max_size=4)
ODD = st.sampled_from(['"', "\r", "\n", "\0", ",", "\ufeff", "\u2028", "\x1c"])


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8),
    newline=st.sampled_from(["\n", "\r\n"]),
    ending=st.sampled_from(["", "\n", "\n\n"]),
    odd=st.none() | st.tuples(ODD, st.integers(0, 200)),
)
def test_both_ways_are_equal(
    rows: list[tuple[str, str, str]], newline: str, ending: str, odd: tuple[str, int] | None
) -> None:
    header = f"x,y,z{newline}"
    content = header + newline.join(map(",".join, rows)) + ending
    if odd is not None:
        place = min(len(header) + odd[1], len(content))
        content = content[:place] + odd[0] + content[place:]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        path.write_bytes(content.encode())
        for columns in (None, ["z", "x"]):
            fast = way(path, columns, row_by_row=False)
            assert fast == way(path, columns, row_by_row=True)


def test_blocks_and_batches_do_not_show(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(2_000)))
    whole = way(path, None, row_by_row=True)
    monkeypatch.setattr(plain_csv, "BLOCK_BYTES", 997)
    monkeypatch.setattr(plain_csv, "BATCH_ROWS", 50)
    assert plain_csv.is_plain(path, ",", LIMITS)
    assert way(path, None, row_by_row=False) == whole


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2\n3,4", True),
        ("a,b\r\n1,2\r\n", True),
        ("a,b\n", False),
        ('a,b\n"1",2\n', False),
        ("a,b\n1\n", False),
        ("a,b\n1,2,3\n", False),
        ("a,b\n1,2\n\n", False),
        ("a,b\n1\r,2\n", False),
        ("a,b\n1,2\0\n", False),
        (b"a,b\n1,\xff\n", False),
        ("a,b\n1," + "x" * 2_000_000 + "\n", False),
        ("a\n1\n", False),
    ],
)
def test_what_counts_as_plain(write: Write, content: str | bytes, expected: bool) -> None:
    assert plain_csv.is_plain(write(content), ",", LIMITS) is expected
