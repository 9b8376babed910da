"""Pages that are made from the code are as the code is now, and pages name files that exist."""

import re
import runpy
import subprocess
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


def test_the_tree_in_the_architecture_page_is_the_tree() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = page.split("```")[1]
    drawn: set[str] = set()
    parents: list[str] = []
    for line in tree.strip("\n").splitlines():
        name = line.strip().split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth:] = [name]
        drawn.add("".join(parents))
    tracked = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - wherever git is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    folders = {
        str(parent) + "/"
        for path in tracked
        for parent in Path(path).parents
        if str(parent) != "." and not str(parent).startswith(".")
    }
    # Mirrors of the packages, and folders of files that programs wrote.
    closed = ("tests/unit/", "tests/golden/", "service/starters/")
    assert {f for f in folders if f in closed or not f.startswith(closed)} == drawn
