"""What is wrong with a CSV file is said with its row, line, column and value."""

import pytest

from service.datasets.limits import Limits
from service.errors import (
    DatasetEmptyError,
    DatasetNonfiniteError,
    DatasetTooWideError,
    DatasetUnparseableError,
    DatasetUnsafeTextError,
)
from tests.unit.datasets.conftest import Profile

SMALL = Limits(max_columns=20, max_cell_bytes=1024)


def numbered(rows: int, **replaced: str) -> str:
    """A table of times and values; `r7="x,y"` replaces row 7."""
    lines = [f"2024-01-{day:02},{day}.5" for day in range(1, rows + 1)]
    for name, line in replaced.items():
        lines[int(name[1:]) - 1] = line
    return "\n".join(["time,value", *lines]) + "\n"


def test_a_row_with_a_cell_too_few_is_named(profile: Profile) -> None:
    with pytest.raises(DatasetUnparseableError) as caught:
        profile(numbered(9, r7="2024-01-07"))
    assert caught.value.detail.startswith("row 7 (line 8): 1 cell where the header has 2")
    assert caught.value.faults[0].location == ("body", "file", 7)


def test_a_row_with_a_cell_too_many_is_named(profile: Profile) -> None:
    with pytest.raises(DatasetUnparseableError, match=r"row 2 \(line 3\): 3 cells"):
        profile(numbered(4, r2="2024-01-02,1,5"))


def test_lines_inside_quotes_count_as_lines_and_not_as_rows(profile: Profile) -> None:
    with pytest.raises(DatasetUnparseableError, match=r"row 2 \(line 4\)"):
        profile('text,label\n"two\nlines",a\nonly\n')


def test_a_blank_line_between_rows_is_an_error_and_at_the_end_is_none(profile: Profile) -> None:
    assert profile(numbered(5) + "\n\n")["rows"] == 5
    with pytest.raises(DatasetUnparseableError, match=r"row 3 \(line 4\)"):
        profile(numbered(5, r3=""))


@pytest.mark.parametrize("value", ["NaN", "inf", "-Infinity", "1e999", '"1,5"', '"1,000.5"'])
def test_a_number_that_cannot_be_used_is_named(profile: Profile, value: str) -> None:
    with pytest.raises(DatasetNonfiniteError) as caught:
        profile(numbered(5, r3=f"2024-01-03,{value}"))
    shown = value.strip('"')
    assert caught.value.detail.startswith(f'row 3 (line 4), column "value": "{shown}" is not')
    assert caught.value.faults[0].location == ("body", "file", 3, "value")


def test_a_word_among_numbers_is_named(profile: Profile) -> None:
    with pytest.raises(DatasetNonfiniteError, match=r'row 5 \(line 6\), column "value": "n/a"'):
        profile(numbered(9, r5="2024-01-05,n/a"))


def test_the_first_wrong_row_is_said_and_all_columns_are_listed(profile: Profile) -> None:
    rows = [f"{i},{i}" for i in range(20)]
    rows[8], rows[3] = "nan,1", "1,nan"
    with pytest.raises(DatasetNonfiniteError, match=r'^row 4 \(line 5\), column "b"') as caught:
        profile("a,b\n" + "\n".join(rows))
    places = [fault.location[2:] for fault in caught.value.faults]
    assert places == [(4, "b"), (9, "a")]


def test_a_wrong_cell_in_a_later_batch_has_its_own_row_number(profile: Profile) -> None:
    rows = [str(i) for i in range(250_000)]
    rows[234_566] = "inf"
    with pytest.raises(DatasetNonfiniteError, match=r"row 234567 \(line 234568\)"):
        profile("value\n" + "\n".join(rows))


def test_a_time_that_cannot_be_read_is_named(profile: Profile) -> None:
    with pytest.raises(DatasetUnparseableError, match=r'row 4 \(line 5\), column "time": "soon"'):
        profile(numbered(9, r4="soon,1"))


@pytest.mark.parametrize("quoted", ['a,"never closed\n', '"x\ny\nz'])
def test_a_quote_that_is_never_closed(profile: Profile, quoted: str) -> None:
    with pytest.raises(DatasetUnparseableError, match=r"row 2 \(line 3\).*never closed"):
        profile(f"text,label\ngood,a\n{quoted}")


def test_a_quote_that_is_never_closed_does_not_pull_in_the_file(profile: Profile) -> None:
    content = 'text,label\n"open,a\n' + "good,b\n" * 10_000
    with pytest.raises(DatasetUnparseableError, match=r"is a quote opened and never closed\?"):
        profile(content, limits=SMALL)


def test_text_after_a_closing_quote(profile: Profile) -> None:
    with pytest.raises(DatasetUnparseableError, match=r"row 1 \(line 2\).*written twice"):
        profile('text,label\n"a"b,c\n')


@pytest.mark.parametrize("columns", [21, 100_001])
def test_too_many_columns(profile: Profile, columns: int) -> None:
    limits = Limits(max_columns=20)
    wide = ",".join(["1"] * columns)
    with pytest.raises(DatasetTooWideError, match=rf"{columns} columns"):
        profile(",".join(f"c{i}" for i in range(columns)) + f"\n{wide}\n", limits=limits)
    with pytest.raises(DatasetTooWideError, match=r"row 1 \(line 2\)"):
        profile(f"a,b\n{wide}\n", limits=limits)


@pytest.mark.parametrize("cell", ["x" * 1025, "é" * 513])
def test_a_cell_that_is_too_large(profile: Profile, cell: str) -> None:
    with pytest.raises(DatasetUnparseableError, match=r'row 1 \(line 2\), column "text"') as caught:
        profile(f'text,label\n"{cell}",a\n', limits=SMALL)
    assert len(caught.value.detail) < 200


def test_a_cell_of_ten_mebibytes(profile: Profile) -> None:
    cell = "x" * (10 * 2**20)
    with pytest.raises(DatasetUnparseableError, match=r'row 2 \(line 3\), column "text"'):
        profile(f'text,label\na,b\n"{cell}",c\n')


def test_nul_inside_a_text(profile: Profile) -> None:
    with pytest.raises(
        DatasetUnsafeTextError, match=r'row 2 \(line 3\), column "text": a NUL .* position 3'
    ):
        profile(b"text,label\ngood,a\nba\0d,b\n")


def test_bytes_that_are_not_utf8(profile: Profile) -> None:
    with pytest.raises(DatasetUnparseableError, match=r"line 3: byte 4 of the line \(0xe9"):
        profile(b"text,label\ngood,a\ncaf\xe9,b\n")


@pytest.mark.parametrize("content", ["time,value\n", "time,value", "time,value\n\n\n"])
def test_a_header_alone_is_empty(profile: Profile, content: str) -> None:
    with pytest.raises(DatasetEmptyError, match="no row of data"):
        profile(content)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_nothing_is_empty(profile: Profile, content: bytes) -> None:
    with pytest.raises(DatasetEmptyError):
        profile(content)


@pytest.mark.parametrize(
    ("header", "message"),
    [("a,b,a", 'two columns are called "a"'), ("1.5,2", "must name the columns")],
)
def test_a_header_that_names_nothing(profile: Profile, header: str, message: str) -> None:
    with pytest.raises(DatasetUnparseableError, match=message):
        profile(f"{header}\n{','.join('12345'[: header.count(',') + 1])}\n")


def test_a_byte_order_mark_is_not_part_of_the_first_name(profile: Profile) -> None:
    found = profile(b"\xef\xbb\xbf" + numbered(5).encode())
    assert [column["name"] for column in found["columns"]] == ["time", "value"]


def test_cells_that_begin_like_formulas_are_texts(profile: Profile) -> None:
    rows = "".join(f"{start}cmd and some words,{i % 2}\n" for i, start in enumerate("=+-@\t=+"))
    found = profile(f"text,label\n{rows}")
    assert found["tasks"] == ["text-classification", "text-generation"]


def test_missing_numbers_are_allowed_and_counted(profile: Profile) -> None:
    found = profile(numbered(9, r3="2024-01-03,", r5="2024-01-05,"))
    assert found["series"]["missing"] == 2
    assert found["columns"][1] == {"name": "value", "type": "number", "nulls": 2, "distinct": 7}


def test_ids_and_labels_may_look_like_numbers(profile: Profile) -> None:
    rows = "".join(f"{i:03},some words here {i},{i % 2}\n" for i in range(19)) + "x19,more,1\n"
    found = profile(f"id,text,label\n{rows}")
    assert [column["type"] for column in found["columns"]] == ["text", "text", "number"]
    assert found["labels"]["counts"] == {"1": 10, "0": 10}
