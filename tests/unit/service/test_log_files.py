"""Logs are kept within their size while programs go on printing to them."""

import subprocess
import sys
from pathlib import Path

from service.log_files import keep_end, previous, read_end

PRINTS = """
import sys
for number in range(20_000):
    print(f"line {number:09d}", flush=True)
    if number % 1_000 == 999:
        sys.stdin.readline()
"""


def sizes(path: Path) -> int:
    return sum(part.stat().st_size for part in (path, previous(path)) if part.exists())


def test_a_program_that_goes_on_printing_keeps_its_last_words(tmp_path: Path) -> None:
    path = tmp_path / "program.log"
    with path.open("ab") as log:
        program = subprocess.Popen(
            [sys.executable, "-c", PRINTS], stdin=subprocess.PIPE, stdout=log, text=True
        )
    assert program.stdin is not None
    for number in range(999, 20_000, 1_000):
        while f"line {number:09d}" not in read_end(path, 100)[0]:
            assert program.poll() is None
        keep_end(path, 40_000)
        assert sizes(path) <= 40_000
        text, more = read_end(path, 10_000)
        lines = text.splitlines()[1:]
        assert lines == [f"line {each:09d}" for each in range(number - len(lines) + 1, number + 1)]
        assert more
        program.stdin.write("go on\n")
        program.stdin.flush()
    program.stdin.close()
    assert program.wait(10) == 0


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "program.log"
    path.write_text("a few words\n")
    keep_end(path, 1_000)
    assert (path.read_text(), previous(path).exists()) == ("a few words\n", False)
    assert read_end(path, 1_000) == ("a few words\n", False)
    assert read_end(path, 6) == ("words\n", True)


def test_a_log_that_grew_far_too_large_at_once_keeps_its_end(tmp_path: Path) -> None:
    path = tmp_path / "program.log"
    path.write_bytes(b"x" * 10_000 + b"the end")
    keep_end(path, 2_000)
    assert (path.stat().st_size, previous(path).stat().st_size) == (0, 1_000)
    assert read_end(path, 7) == ("the end", True)
    assert read_end(path, 5_000)[1] is False


def test_what_is_asked_for_may_lie_in_both_files(tmp_path: Path) -> None:
    path = tmp_path / "program.log"
    previous(path).write_text("older ")
    path.write_text("newer")
    assert read_end(path, 100) == ("older newer", False)
    assert read_end(path, 7) == ("r newer"[-7:], True)
    assert read_end(path, 5) == ("newer", True)


def test_there_may_be_no_log(tmp_path: Path) -> None:
    keep_end(tmp_path / "program.log", 1_000)
    assert read_end(tmp_path / "program.log", 100) == ("", False)
