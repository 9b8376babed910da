"""`/alarms` and `/metrics`. What makes each alarm is in `tests/unit/alarms`."""

from datetime import timedelta
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, update
from starlette.testclient import TestClient

from service.auth.subjects import Scope
from service.db.engine import Database
from service.db.tables import Job, Workspace
from service.heartbeats import REAPER, beat
from service.jobs import workers
from service.jobs.progress import record_progress
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.job_records import make_dataset, make_job, take

Headers = dict[str, str]
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.fixture(autouse=True)
def reaper(database: Database) -> None:
    """Alive just now."""
    with database.transaction() as db:
        beat(db, REAPER)


def scraped(client: TestClient, headers: Headers) -> dict[str, float]:
    """Each sample by its name and labels."""
    response = client.get("/metrics", headers=headers | {"Accept": PROMETHEUS})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        "".join(
            [sample.name, *(f" {name}={value}" for name, value in sample.labels.items())]
        ): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_without_trouble_there_are_none(client: TestClient, headers: Headers) -> None:
    assert client.get("/api/v1/alarms", headers=headers).json() == {"data": []}
    found = scraped(client, headers)
    assert {value for name, value in found.items() if name.startswith("reprise_alarms")} == {0}


def test_an_alarm_says_since_when_what_how_many_and_what_to_do(
    client: TestClient, headers: Headers, database: Database, workspace: Workspace
) -> None:
    with database.transaction() as db:
        dataset = make_dataset(db, workspace.id)
        for _ in range(3):
            make_job(db, dataset, queue="gpu")
        past = func.clock_timestamp() - timedelta(seconds=60)
        since = db.scalars(update(Job).values(queued_at=past).returning(Job.queued_at)).first()
    (alarm,) = client.get("/api/v1/alarms", headers=headers).json()["data"]
    assert (alarm["kind"], alarm["count"]) == ("no_worker", 3)
    assert alarm["message"].startswith("3 jobs of the queue gpu")
    assert alarm["remedy"]
    assert since is not None
    assert alarm["since"][:19] == since.isoformat()[:19]
    assert scraped(client, headers)["reprise_alarms kind=no_worker"] == 3
    with database.transaction() as db:
        workers.register(db, uuid4(), hostname="h", pid=1, queue="gpu", slots=1, devices={})
    assert client.get("/api/v1/alarms", headers=headers).json() == {"data": []}
    assert scraped(client, headers)["reprise_alarms kind=no_worker"] == 0


def test_a_disk_with_little_room_is_one_of_them(make_app: MakeApp, headers: Headers) -> None:
    with TestClient(make_app(min_free_disk_bytes=2**62), base_url="http://localhost") as client:
        (first,) = client.get("/api/v1/alarms", headers=headers).json()["data"]
        (again,) = client.get("/api/v1/alarms", headers=headers).json()["data"]
        assert scraped(client, headers)["reprise_alarms kind=disk_low"] == 1
    assert first["kind"] == "disk_low"
    assert again["since"] == first["since"]


def test_jobs_are_counted_and_their_waits_measured(
    client: TestClient, headers: Headers, database: Database, workspace: Workspace
) -> None:
    with database.transaction() as db:
        dataset = make_dataset(db, workspace.id)
        for _ in range(4):
            make_job(db, dataset)
        past = func.clock_timestamp() - timedelta(seconds=40)
        db.execute(update(Job).values(created_at=past, queued_at=past))
        for _ in range(2):
            take(db)
        make_job(db, dataset)
        attempt = take(db).attempt
        record_progress(db, attempt, progress={}, metrics=None, events=[], timesteps=512)
        make_job(db, dataset, after=[]).paused_at = func.clock_timestamp()
    found = scraped(client, headers)
    assert found["reprise_train_tokens_total"] == 512
    assert found["reprise_jobs state=queued"] == 3
    assert found["reprise_jobs state=running"] == 3
    assert found["reprise_jobs state=succeeded"] == 0
    assert 40 <= found["reprise_oldest_queued_job_seconds"] < 100
    assert found["reprise_job_queue_seconds_bucket le=30.0"] == 0
    assert found["reprise_job_queue_seconds_bucket le=60.0"] == 3
    assert found["reprise_job_queue_seconds_bucket le=+Inf"] == 3
    assert found["reprise_job_queue_seconds_count"] == 3
    assert 120 <= found["reprise_job_queue_seconds_sum"] < 300


@pytest.mark.parametrize("path", ["/api/v1/alarms", "/metrics"])
def test_both_need_a_key_that_may_read_jobs(
    path: str, client: TestClient, make_key: MakeKey, workspace: Workspace
) -> None:
    assert client.get(path).status_code == 401
    response = client.get(path, headers=bearer(make_key([Scope.PREDICT])))
    assert (response.status_code, problem(response)) == (403, "forbidden")
    response = client.get(path, headers=bearer(make_key([Scope.JOBS_READ])))
    assert response.status_code == 200
    assert str(workspace.id) not in response.text
