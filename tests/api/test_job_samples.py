"""`/api/v1/jobs/{id}/samples`, of jobs that nobody works on: the test itself plays the worker."""

import pytest
from sqlalchemy import delete
from starlette.testclient import TestClient

from service.db.engine import Database
from service.db.tables import Job
from service.jobs.progress import record_progress
from service.jobs.transitions import NewEvent
from tests.api.conftest import MakeKey, bearer, problem
from tests.api.job_requests import SERIES, submit, upload
from tests.api.test_dashboard import HTML, sign_in
from tests.api.test_jobs import claimed, finish, parse
from tests.job_records import events_of


@pytest.fixture
def dataset(client: TestClient, headers: dict[str, str]) -> str:
    return upload(client, headers, "demand.csv", SERIES)


def test_samples_are_listed_by_pages_and_streamed(
    client: TestClient, headers: dict[str, str], dataset: str, database: Database
) -> None:
    path = f"/api/v1/jobs/{submit(client, headers, dataset)['id']}"
    assert client.get(f"{path}/samples", headers=headers).json() == {"data": [], "has_more": False}
    attempt = claimed(database)
    shown = [
        {"step": step, "samples": [{"kind": "text", "prompt": "a", "text": "<script>"}]}
        for step in (10, 20, 30)
    ]
    for data in shown:
        measured = NewEvent("metrics", {"kind": "step", "step": data["step"]})
        with database.transaction() as db:
            events = [measured, NewEvent("sample", data)]
            record_progress(db, attempt, progress={}, metrics=None, events=events)
    first = client.get(f"{path}/samples?limit=2", headers=headers).json()
    assert [event["data"] for event in first["data"]] == shown[:2]
    assert first["has_more"]
    after = first["data"][-1]["seq"]
    rest = client.get(f"{path}/samples?limit=2&after={after}", headers=headers).json()
    assert [event["data"] for event in rest["data"]] == shown[2:]
    assert not rest["has_more"]
    finish(database, attempt)
    stream = client.get(f"{path}/events", headers={**headers, "Accept": "text/event-stream"}).text
    assert [event["event"] for event in parse(stream)].count("sample") == 3


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "after=-1", "after=x"])
def test_a_page_of_samples_that_cannot_be(
    client: TestClient, headers: dict[str, str], dataset: str, query: str
) -> None:
    path = f"/api/v1/jobs/{submit(client, headers, dataset)['id']}/samples"
    assert problem(client.get(f"{path}?{query}", headers=headers)) == "validation-error"


def test_samples_of_a_job_go_with_it_and_nobody_else_sees_them(
    client: TestClient,
    headers: dict[str, str],
    dataset: str,
    database: Database,
    make_key: MakeKey,
) -> None:
    job = submit(client, headers, dataset)["id"]
    attempt = claimed(database)
    with database.transaction() as db:
        events = [NewEvent("sample", {"step": 1, "samples": []})]
        record_progress(db, attempt, progress={}, metrics=None, events=events)
    other = bearer(make_key(workspace_name="another"))
    assert problem(client.get(f"/api/v1/jobs/{job}/samples", headers=other)) == "not-found"
    with database.transaction() as db:
        db.execute(delete(Job).where(Job.id == attempt.job_id))
        assert events_of(db, attempt.job_id) == []


def test_the_page_says_why_there_are_none(
    client: TestClient, headers: dict[str, str], key: str, dataset: str
) -> None:
    silent = submit(client, headers, dataset, training={"samples": False})
    assert silent["config"]["training"]["samples"] is False
    job = submit(client, headers, dataset)
    sign_in(client, key)
    assert "training.samples is off" in client.get(f"/jobs/{silent['id']}", headers=HTML).text
    assert "None yet" in client.get(f"/jobs/{job['id']}", headers=HTML).text
    client.post(f"/api/v1/jobs/{job['id']}/cancel", headers=headers)
    assert "There are none." in client.get(f"/jobs/{job['id']}", headers=HTML).text
