"""`reprise quota` on a database of its own."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from service.auth.store import ensure_workspace
from service.cli import app
from service.db.engine import Database
from service.errors import NotFoundError
from service.jobs.quotas import Quota, quota_of
from tests.job_records import make_workspace


class Command:
    """Runs it, always for JSON."""

    def __call__(self, *arguments: str) -> Any:
        result = CliRunner().invoke(app, ["quota", *arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.output)


@pytest.fixture
def quota(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("REPRISE_DATABASE_URL", database_url)
    with database.transaction() as db:
        make_workspace(db, "default")
        make_workspace(db, "north")
    return Command()


def limits(database: Database, workspace: str = "default") -> Quota:
    with database.transaction() as db:
        return quota_of(ensure_workspace(db, workspace), Quota(7, 8, 9))


def test_limits_are_set_one_by_one_and_given_back(quota: Command, database: Database) -> None:
    assert quota() == {
        "workspace": "default",
        "queued": "default",
        "running": "default",
        "minutes": "default",
    }
    assert limits(database) == Quota(7, 8, 9)
    quota("--queued", "100", "--running", "none")
    assert limits(database) == Quota(100, None, 9)
    shown = quota("--queued", "default", "--minutes", "0")
    assert (shown["queued"], shown["running"], shown["minutes"]) == ("default", None, 0)
    assert limits(database) == Quota(7, None, 0)
    assert quota() == shown


def test_a_quota_is_that_of_one_workspace(quota: Command, database: Database) -> None:
    assert quota("--workspace", "north", "--running", "1")["workspace"] == "north"
    assert limits(database, "north") == Quota(7, 1, 9)
    assert limits(database) == Quota(7, 8, 9)


@pytest.mark.usefixtures("quota")
def test_it_is_a_table_for_people() -> None:
    result = CliRunner().invoke(app, ["quota", "--running", "none", "--minutes", "60"])
    rows = [line.split()[:2] for line in result.output.splitlines()[1:]]
    assert rows == [["queued", "default"], ["running", "none"], ["minutes", "60"]]


@pytest.mark.usefixtures("quota")
def test_a_workspace_that_is_not_there() -> None:
    with pytest.raises(NotFoundError, match="no workspace 'typo'"):
        CliRunner().invoke(app, ["quota", "--workspace", "typo"], catch_exceptions=False)


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "", "1000000001", "\u0663"])
def test_what_is_no_limit(text: str) -> None:
    """Refused before the database is looked for."""
    result = CliRunner().invoke(app, ["quota", f"--running={text}"])
    assert result.exit_code == 2
    assert "--running" in result.output
