"""The command line as a program, against a whole instance."""

import json
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.running import Running, run

REPRISE = (sys.executable, "-m", "service.cli")


class Shell:
    """Runs `reprise` with an instance's address and key."""

    def __init__(self, instance: Running) -> None:
        assert instance.key is not None
        self._environment = {"REPRISE_URL": instance.url, "REPRISE_API_KEY": instance.key}

    def __call__(self, *arguments: str, code: int = 0, **environment: str) -> str:
        found, output = run([*REPRISE, *arguments], self._environment | environment)
        assert found == code, output
        return output

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def reprise(instance: Running) -> Shell:
    return Shell(instance)


def test_from_a_file_to_a_generated_text(reprise: Shell, tmp_path: Path) -> None:
    file = tmp_path / "rain in spain.txt"
    file.write_text("The rain in spring falls softly on the hill.\n" * 200)
    dataset = reprise.json("datasets", "upload", str(file), "--name", "[bold]rain")
    assert "[bold]rain" in reprise("datasets", "list")
    assert "text.lines" in reprise("datasets", "show", dataset["id"])
    assert "falls softly" in reprise("datasets", "preview", dataset["id"])

    small = ("training.max_epochs=2", "architecture.hidden_size=16", "architecture.num_layers=1")
    choices = [part for choice in small for part in ("--set", choice)]
    submit = ("jobs", "submit", "--task", "text-generation", "--dataset", dataset["id"])
    output = reprise(*submit, "--model", "rain", *choices, "--follow")
    assert "Published rain:1." in output
    job = reprise.json("jobs", "list", "--state", "succeeded")["data"][0]
    assert "training.max_epochs" in reprise("jobs", "show", job["id"])

    lines = [
        json.loads(line)
        for line in reprise("jobs", "follow", job["id"], "--json").split("\n")
        if line
    ]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["data"]["to"] == "succeeded"

    ask = ("predict", "generate", "rain", "The rain", "--max-new-tokens", "12", "--seed", "1")
    whole = reprise.json(*ask)
    assert whole["usage"]["completion_tokens"] == 12
    assert reprise(*ask).startswith("The rain")
    assert "trained for another task" in reprise("predict", "sentiment", "rain", "words", code=1)

    label = ("predict", "sentiment", "starter-sentiment", "An awful film.")
    assert "negative" in reprise(*label)
    rows = [line.split() for line in reprise(*label, "--attributions").splitlines()]
    assert ["awful", "3-8"] in [row[:2] for row in rows]

    assert dataset["id"] in reprise("datasets", "delete", dataset["id"])
    assert "no such" in reprise("datasets", "show", dataset["id"], code=1).lower()


def test_a_cancelled_job_is_a_failure_to_whoever_follows(reprise: Shell, tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("There is always one more word to be learnt here.\n" * 2_000)
    dataset = reprise.json("datasets", "upload", str(file))
    submit = ("jobs", "submit", "--task", "text-generation", "--dataset", dataset["id"])
    job = reprise.json(*submit, "--set", "training.max_epochs=10000")
    assert job["config"]["training"]["max_epochs"] == 10_000
    reprise("jobs", "cancel", job["id"])
    assert "is cancelled" in reprise("jobs", "follow", job["id"], code=1)


def test_a_job_is_held_let_go_ended_and_tried_again(reprise: Shell, tmp_path: Path) -> None:
    file = tmp_path / "longer.txt"
    file.write_text("There is always one more line to be read here.\n" * 2_000)
    dataset = reprise.json("datasets", "upload", str(file))
    submit = ("jobs", "submit", "--task", "text-generation", "--dataset", dataset["id"])
    first = reprise.json(*submit, "--set", "training.max_epochs=10000")["id"]
    last = reprise.json(*submit, "--set", f'after=["{first}"]')["id"]
    assert reprise("jobs", "pause", last) == "The job is paused.\n"
    assert reprise("jobs", "resume", last) == "The job is waiting for other jobs.\n"
    reprise("jobs", "cancel", first)
    assert "is cancelled" in reprise("jobs", "follow", first, code=1)
    assert "had to succeed before, is cancelled" in reprise("jobs", "follow", last, code=1)
    assert "which is cancelled" in reprise("jobs", "retry", last, code=1)
    assert reprise("jobs", "retry", first) == "The job is queued.\n"
    reprise("jobs", "cancel", first)


def test_a_quota_counts_at_once(instance: Running, reprise: Shell, tmp_path: Path) -> None:
    data = ("--data", str(instance.data))
    file = tmp_path / "short.txt"
    file.write_text("One line is enough for this.\n" * 200)
    dataset = reprise.json("datasets", "upload", str(file))
    submit = ("jobs", "submit", "--task", "text-generation", "--dataset", dataset["id"])
    assert reprise.json("quota", "--queued", "0", *data)["queued"] == 0
    assert "0 are allowed" in reprise(*submit, code=1)
    assert reprise.json("quota", "--queued", "default", *data)["queued"] == "default"
    reprise("jobs", "cancel", reprise.json(*submit)["id"])


def test_keys_are_made_listed_and_revoked(instance: Running, reprise: Shell) -> None:
    data = ("--data", str(instance.data))
    made = reprise.json("keys", "create", "reader", "--scope", "jobs:read", "--days", "1", *data)
    assert made["scopes"] == ["jobs:read"]
    key = made["key"]
    reprise("jobs", "list", REPRISE_API_KEY=key)
    assert "does not allow" in reprise("datasets", "list", code=1, REPRISE_API_KEY=key)

    listed = {one["name"]: one for one in reprise.json("keys", "list", *data)}
    assert listed["reader"]["state"] == "valid"
    assert "keys:admin" in listed["admin"]["scopes"]
    assert key not in reprise("keys", "list", *data)

    reprise("keys", "revoke", made["id"], *data)
    assert instance.get("/api/v1/jobs", key).status_code in (200, 401)  # within its few seconds
    assert "revoked" in reprise("keys", "list", *data)
    assert "no such key" in reprise("keys", "revoke", str(uuid4()), *data, code=1)
    nowhere = reprise("keys", "list", "--workspace", "typo", *data, code=1)
    assert "no workspace 'typo'" in nowhere
    assert "last key" in reprise("keys", "revoke", listed["admin"]["id"], *data, code=1)


def test_a_plain_new_key_cannot_make_keys(instance: Running, reprise: Shell) -> None:
    data = ("--data", str(instance.data))
    assert "keys:admin" not in reprise.json("keys", "create", "plain", *data)["scopes"]
    assert "keys:admin" in reprise.json("keys", "create", "boss", "--admin", *data)["scopes"]


def test_migrate_finds_nothing_to_do(instance: Running, reprise: Shell) -> None:
    assert "up to date" in reprise("migrate", "--data", str(instance.data))


def test_probe_tells_ready_from_absent(instance: Running, reprise: Shell) -> None:
    port = instance.url.rpartition(":")[2]
    reprise("probe", REPRISE_PORT=port)
    assert "does not answer" in reprise("probe", code=1, REPRISE_PORT="1")


def test_failures_are_sentences(reprise: Shell, tmp_path: Path) -> None:
    assert "Set REPRISE_API_KEY" in reprise("jobs", "list", code=1, REPRISE_API_KEY="")
    assert "valid API key" in reprise("jobs", "list", code=1, REPRISE_API_KEY="rp_wrong")
    assert "Nothing answers" in reprise("jobs", "list", code=1, REPRISE_URL="http://127.0.0.1:1")
    missing = str(tmp_path / "missing.csv")
    assert "cannot be read: No such file" in reprise("datasets", "upload", missing, code=1)
    assert "No instance runs" in reprise("keys", "list", "--data", str(tmp_path), code=1)
    assert "Traceback" not in reprise("jobs", "show", str(uuid4()), code=1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "submit", "--task", "chess", "--dataset", str(uuid4())),
        ("jobs", "show", "7"),
        ("predict", "forecast", "demand", "one,two"),
        ("predict", "forecast", "demand"),
        ("up", "--port", "65536"),
        ("dance",),
    ],
)
def test_usage_errors_are_exit_code_2(reprise: Shell, arguments: tuple[str, ...]) -> None:
    assert "Usage" in reprise(*arguments, code=2)
