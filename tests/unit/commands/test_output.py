"""What is printed is readable, and harmless to the terminal that shows it."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from service.commands.jobs import read_choices
from service.commands.output import ago, cell, print_table, printable, size


def test_texts_of_others_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\x9b\u202ec") == "a\ufffd[31mb\ufffd\ufffd\ufffdc"
    assert (
        printable("line\nnext\tcolumn — ünïcode 👩\u200d🚀")
        == "line\nnext\tcolumn — ünïcode 👩\u200d🚀"
    )
    assert cell("[red]no markup[/red]").plain == "[red]no markup[/red]"


def test_an_id_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "name"], [("x" * 36, "y" * 500)])
    assert "x" * 36 in capsys.readouterr().out


def test_sizes_and_times_are_for_people() -> None:
    assert [size(n) for n in (0, 1023, 1024, 5 * 2**20, 3 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3072.0 GiB",
    ]
    now = datetime.now(UTC)
    assert ago((now - timedelta(hours=3, minutes=10)).isoformat()) == "3 h ago"
    assert ago((now + timedelta(seconds=5)).isoformat()) == "0 s ago"
    assert ago(None) is None


def test_choices_become_a_body() -> None:
    assert read_choices(
        ["training.max_epochs=3", "training.optimizer=sgd", "data.time_column=null", 'model="7"']
    ) == {
        "training": {"max_epochs": 3, "optimizer": "sgd"},
        "data": {"time_column": None},
        "model": "7",
    }


@pytest.mark.parametrize("choices", [["training"], ["=3"], ["a..b=3"], ["a=1", "a.b=2"]])
def test_a_choice_that_cannot_be_read_is_a_usage_error(choices: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        read_choices(choices)
