"""`docs/states.md` shows exactly the transitions that the code knows."""

import re
from pathlib import Path

from service.jobs.states import TERMINAL, TRANSITIONS, JobState

PAGE = Path(__file__).resolve().parents[3] / "docs" / "states.md"


def test_diagram_draws_every_transition_and_no_other() -> None:
    drawn = re.findall(r"^ +(\w+) --> (\w+): (\w+)$", PAGE.read_text(), re.MULTILINE)
    expected = {(step.source, step.target, step.reason) for step in TRANSITIONS}
    assert set(drawn) == expected
    assert len(drawn) == len(expected)


def test_diagram_begins_and_ends_where_the_code_does() -> None:
    text = PAGE.read_text()
    assert re.findall(r"^ +\[\*\] --> (\w+)", text, re.MULTILINE) == [JobState.QUEUED]
    assert set(re.findall(r"^ +(\w+) --> \[\*\]", text, re.MULTILINE)) == TERMINAL


def test_table_lists_every_transition_with_who_takes_it() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE
    )
    assert set(rows) == set(TRANSITIONS)
    assert len(rows) == len(TRANSITIONS)


def test_every_state_has_its_paragraph() -> None:
    described = re.findall(r"^- \*\*`(\w+)`\*\*", PAGE.read_text(), re.MULTILINE)
    assert sorted(described) == sorted(JobState)
