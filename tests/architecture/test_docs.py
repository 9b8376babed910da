"""Pages that are made from the code are as the code is now, and pages name files that exist."""

import re
import runpy
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

REFERENCE = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
EXAMPLES = runpy.run_path(str(ROOT / "docs" / "examples" / "make.py"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", sorted(REFERENCE["PAGES"]))
def test_reference_page_is_current(page: str) -> None:
    made = REFERENCE["PAGES"][page]()
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == made, (
        "run: python docs/make_reference.py"
    )


@pytest.mark.parametrize("name", ["demand.csv", "reviews.csv"])
def test_example_data_is_what_its_script_writes(name: str, tmp_path: Path) -> None:
    EXAMPLES[name.removesuffix(".csv")](tmp_path / name)
    assert (tmp_path / name).read_bytes() == (ROOT / "docs" / "examples" / name).read_bytes()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_a_page_exist(page: Path) -> None:
    rooms = "rnn|service|workers|migrations|tests|benchmarks|docs"
    text = page.read_text(encoding="utf-8")
    for path in re.findall(rf"`((?:{rooms})/[\w./-]*\w(?:/|\.\w+))`", text):
        assert (ROOT / path).exists(), path
