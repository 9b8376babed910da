from uuid import uuid4

from starlette.testclient import TestClient

from service.auth.subjects import Scope
from service.db.engine import Database
from service.jobs import workers
from tests.api.conftest import MakeKey, bearer, problem


def test_workers_are_listed_with_what_they_offer(
    client: TestClient, headers: dict[str, str], database: Database
) -> None:
    with database.transaction() as db:
        ids = [uuid4(), uuid4()]
        for worker_id in ids:
            workers.register(
                db, worker_id, hostname="h", pid=1, queue="cpu", slots=2, devices={"cores": 4}
            )
        workers.stopped(db, ids[0])
    found = {w["id"]: w for w in client.get("/api/v1/workers", headers=headers).json()["data"]}
    assert [found[str(worker_id)]["state"] for worker_id in ids] == ["stopped", "live"]
    live = found[str(ids[1])]
    assert (live["queue"], live["slots"], live["devices"]["cores"]) == ("cpu", 2, 4)
    assert live["versions"] is live["devices"]["processor_utilisation"] is None  # an older worker
    assert live["devices"]["gpus"] == []
    assert live["running_jobs"] == 0


def test_a_worker_shows_how_busy_its_devices_are(
    client: TestClient, headers: dict[str, str], database: Database
) -> None:
    gpu = {"id": "0", "name": "NVIDIA H200", "memory_mebibytes": 143771}
    versions = {"reprise": "1.2.3", "python": "3.11.2", "torch": "2.13.0"}
    worker_id = uuid4()
    with database.transaction() as db:
        offered = {"cores": 4, "gpus": [gpu], "versions": versions}
        workers.register(db, worker_id, hostname="h", pid=1, queue="gpu", slots=1, devices=offered)
        used = {"processor_utilisation": 0.25, "memory_bytes": 100, "memory_used_bytes": 30}
        gpu |= {"utilisation": 0.93, "memory_used_mebibytes": 1000}
        workers.seen(db, worker_id, {**offered, **used, "gpus": [gpu]})
    (worker,) = client.get("/api/v1/workers", headers=headers).json()["data"]
    assert worker["devices"] == {"cores": 4, **used, "gpus": [gpu]}
    assert worker["versions"] == versions


def test_the_scope_is_needed(client: TestClient, make_key: MakeKey) -> None:
    response = client.get("/api/v1/workers", headers=bearer(make_key([Scope.PREDICT])))
    assert (response.status_code, problem(response)) == (403, "forbidden")
