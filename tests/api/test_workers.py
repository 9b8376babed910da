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
    assert (live["queue"], live["slots"], live["devices"]) == ("cpu", 2, {"cores": 4})
    assert live["running_jobs"] == 0


def test_the_scope_is_needed(client: TestClient, make_key: MakeKey) -> None:
    response = client.get("/api/v1/workers", headers=bearer(make_key([Scope.PREDICT])))
    assert (response.status_code, problem(response)) == (403, "forbidden")
