"""The page of settings, and the workers of the overview, without a browser."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from service.auth.subjects import Scope
from service.db.engine import Database
from service.jobs import workers
from service.settings_shown import GROUPS
from tests.api.conftest import MakeApp, MakeKey, bearer

HTML = {"Accept": "text/html,*/*;q=0.8"}
SCRIPT = "<script>alert(1)</script>"
GPU = {"id": "0", "name": SCRIPT, "memory_mebibytes": 143771}
USED = {"processor_utilisation": 0.374, "memory_bytes": 16 * 10**9, "memory_used_bytes": 5 * 10**9}
BUSY = {**GPU, "utilisation": 0.93, "memory_used_mebibytes": 1000}


def page(client: TestClient, key: str, path: str) -> str:
    answer = client.get(path, headers={**HTML, **bearer(key)})
    assert answer.status_code == 200, answer.text
    return " ".join(answer.text.split())


def add_worker(database: Database, devices: dict[str, Any]) -> UUID:
    worker_id = uuid4()
    with database.transaction() as db:
        workers.register(
            db, worker_id, hostname=SCRIPT, pid=1, queue="cpu", slots=2, devices=devices
        )
    return worker_id


def test_settings_are_grouped_and_changed_ones_marked(make_app: MakeApp, key: str) -> None:
    """bad_inputs dashboard-01: a value that is written as HTML."""
    changes = {"allowed_hosts": ("localhost", SCRIPT), "max_upload_bytes": 2_000_000}
    with TestClient(make_app(**changes), base_url="http://localhost") as client:
        text = page(client, key, "/settings")
    assert all(f">{group}</h2>" in text for group in GROUPS.values())
    assert text.count(">changed</span>") == text.count("data-changed") == len(changes)
    assert "<code>localhost,&lt;script&gt;alert(1)" in text
    assert SCRIPT not in text
    assert '<code>2000000</code> <span class="hint">2 MB</span>' in text
    assert "default: <code>2147483648</code>" in text
    assert ":***@" in text


def test_versions_of_workers_that_tell_them_are_shown(
    client: TestClient, key: str, database: Database
) -> None:
    add_worker(database, {"cores": 4})
    assert "Worker on" not in page(client, key, "/settings")
    versions = {"reprise": "7.8.9", "python": "3.13.1", "torch": "2.99.0"}
    gone = add_worker(database, {"cores": 4, "versions": versions})
    text = page(client, key, "/settings")
    assert all(f"<td>{version}</td>" in text for version in versions.values())
    assert SCRIPT not in text
    with database.transaction() as db:
        workers.stopped(db, gone)
    assert "Worker on" not in page(client, key, "/settings")


@pytest.mark.parametrize("scope", [Scope.KEYS_ADMIN, Scope.JOBS_READ])
def test_both_scopes_are_needed(client: TestClient, make_key: MakeKey, scope: Scope) -> None:
    answer = client.get("/settings", headers={**HTML, **bearer(make_key([scope]))})
    assert answer.status_code == 403


def test_the_overview_shows_how_busy_workers_are(
    client: TestClient, key: str, database: Database
) -> None:
    add_worker(database, {"cores": 4, **USED, "gpus": [BUSY]})
    text = page(client, key, "/")
    for said in ("37 %", "5 GB of 16 GB", "93 %, &lt;script&gt;", "1.05 GB of 151 GB", "0 of 2"):
        assert f">{said}" in text, said
    assert SCRIPT not in text


@pytest.mark.parametrize(
    "devices", [{"cores": 4, "gpus": [GPU]}, {"processor_utilisation": None, "gpus": []}, {}]
)
def test_of_a_worker_that_does_not_say_only_slots_are_shown(
    client: TestClient, key: str, database: Database, devices: dict[str, Any]
) -> None:
    add_worker(database, devices)
    assert page(client, key, "/").count("<meter") == 1


def test_of_a_lost_worker_only_slots_are_shown(
    make_app: MakeApp, key: str, database: Database
) -> None:
    add_worker(database, {"cores": 4, **USED, "gpus": [BUSY]})
    with TestClient(make_app(lease_seconds=1e-6), base_url="http://localhost") as client:
        text = page(client, key, "/")
    assert ">lost</span>" in text
    assert text.count("<meter") == 1
