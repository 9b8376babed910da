"""What `/jobs` refuses: the rows of the bad-input table, each with the place that it names."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import problem
from tests.api.job_requests import FORECASTING, SERIES, submit, upload


@pytest.fixture
def series(client: TestClient, headers: dict[str, str]) -> str:
    return upload(client, headers, "Hourly Demand.csv", SERIES)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("jobs-07", {"metadata": {"tag": "\x00"}}, ""),
    ("jobs-07", {"model": "a\x00b"}, ""),
    ("jobs-10", {"is_admin": True}, "body.is_admin"),
    ("jobs-10", {"state": "running"}, "body.state"),
    ("jobs-10", {"attempt": 3}, "body.attempt"),
    *(
        ("jobs-11", {"architecture": {"hidden_size": size}}, "body.architecture.hidden_size")
        for size in (0, -1, 1.5, "128", True, 10**9)
    ),
    *(
        ("jobs-14", {"training": {"learning_rate": rate}}, "body.training.learning_rate")
        for rate in (0, -1, 1e10)
    ),
    *(
        ("jobs-15", {"training": {"max_epochs": epochs}}, "body.training.max_epochs")
        for epochs in (0, 10**12)
    ),
    ("jobs-15", {"training": {"max_minutes": -1}}, "body.training.max_minutes"),
    *(
        ("jobs-16", {"architecture": {"dropout": share}}, "body.architecture.dropout")
        for share in (1.0, -0.1)
    ),
    *(
        ("jobs-17", {"training": {"optimizer": name}}, "body.training.optimizer")
        for name in ("__import__('os')", "torch.optim.SGD")
    ),
    *(("jobs-18", {"device": name}, "body.device") for name in ("cuda:99", "cpu; rm -rf")),
    ("jobs-21", {"resume_from": "../../x"}, "body.resume_from"),
    ("jobs-25", {"webhook_url": "http://127.0.0.1/"}, "body.webhook_url"),
    ("a task that is none", {"task": "horoscopes"}, "body"),
    ("no id", {"dataset": "../../etc/passwd"}, "body.dataset"),
    ("an id of another type", {"dataset": 7}, "body.dataset"),
    *(
        ("a model's name", {"model": name}, "body.model")
        for name in ("", "A", "../x", ".hidden", "a/b", "a" * 65, 7, "a\n")
    ),
    ("metadata of another type", {"metadata": {"a": 1}}, "body.metadata.a"),
    ("much metadata", {"metadata": {str(i): "" for i in range(17)}}, "body.metadata"),
    ("long metadata", {"metadata": {"a": "b" * 513}}, "body.metadata.a"),
    ("priority", {"priority": 10**9}, "body.priority"),
    ("a column that is not there", {"data": {"target_column": "nope"}}, "body.data.target_column"),
    (
        "two directions",
        {"architecture": {"bidirectional": True}},
        "body.architecture.bidirectional",
    ),
]


def test_bad_bodies(client: TestClient, headers: dict[str, str], series: str) -> None:
    """Each is refused with its place, and a good one is taken afterwards."""
    wrong = []
    for row, change, location in BAD:
        body = {"task": FORECASTING, "dataset": series, **change}
        response = client.post("/api/v1/jobs", json=body, headers=headers)
        if (response.status_code, problem(response)) != (422, "validation-error"):
            wrong.append(f"{row} {change}: {response.text[:200]}")
        places = [fault["location"] for fault in response.json().get("errors", [])]
        if location and location not in places:
            wrong.append(f"{row} {change}: names {places}")
    assert not wrong, "\n".join(wrong)
    submit(client, headers, series)


@pytest.mark.parametrize(
    ("row", "body", "status", "kind"),
    [
        ("jobs-01", b"[]", 422, "validation-error"),
        ("jobs-01", b'"x"', 422, "validation-error"),
        ("jobs-01", b"null", 422, "validation-error"),
        ("jobs-01", b"", 422, "validation-error"),
        ("jobs-02", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "malformed-json"),
        ("jobs-03", b'{"task": "\xff"}', 400, "malformed-json"),
        ("jobs-04", b'{"training": {"learning_rate": NaN}}', 400, "malformed-json"),
        (
            "jobs-05",
            b'{"task": "T", "training": {"learning_rate": 1e999}}',
            422,
            "validation-error",
        ),
        ("jobs-09", b'{"training": {"seed": ' + b"9" * 5000 + b"}}", 400, "malformed-json"),
    ],
)
def test_bad_bytes(
    client: TestClient, headers: dict[str, str], row: str, body: bytes, status: int, kind: str
) -> None:
    body = body.replace(b'"T"', json.dumps(FORECASTING).encode())
    response = client.post(
        "/api/v1/jobs", content=body, headers={**headers, "Content-Type": "application/json"}
    )
    assert (response.status_code, problem(response)) == (status, kind)


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"batch_size": 60_000}},
        {"data": {"horizon": 200, "context_length": 200}},
    ],
)
def test_data_that_is_too_small(
    client: TestClient, headers: dict[str, str], series: str, change: dict[str, Any]
) -> None:
    """bad_inputs jobs-13: the message names what was asked for and what is there."""
    body = {"task": FORECASTING, "dataset": series, **change}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (422, "dataset-too-small")
    assert any(number in response.json()["detail"] for number in ("60000", "60,000", "400", "200"))


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=0",
        "limit=1000000000",
        "after=%00",
        "after=garbage",
        "after=0199e2a4-5b1c-7d3e-8f60-1a2b3c4d5e6f",
        "sort=;drop",
        "state=sleeping",
        "task=x",
    ],
)
def test_bad_lists(client: TestClient, headers: dict[str, str], query: str) -> None:
    """bad_inputs jobs-38."""
    response = client.get(f"/api/v1/jobs?{query}", headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")


@pytest.mark.parametrize("seq", ["-1", "x", "1e3", str(2**63)])
def test_a_last_event_id_that_is_none(
    client: TestClient, headers: dict[str, str], series: str, seq: str
) -> None:
    path = f"/api/v1/jobs/{submit(client, headers, series)['id']}/events"
    streaming = {**headers, "Accept": "text/event-stream", "Last-Event-ID": seq}
    response = client.get(path, headers=streaming)
    assert (response.status_code, problem(response)) == (422, "validation-error")
