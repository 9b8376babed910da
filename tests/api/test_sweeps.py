"""`/api/v1/sweeps`, with trials that nobody works on: the test itself plays the worker."""

from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from service.artifacts.store import ArtifactStore
from service.auth.subjects import ALL_SCOPES, Scope
from service.db.engine import Database
from service.jobs import endings
from service.jobs.endings import Trained
from service.settings import Settings
from service.sweeps.controller import Controller
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.api.job_requests import FORECASTING, SERIES, upload
from tests.job_records import take
from tests.sweep_records import RATE, SPACE, Wakes

Headers = dict[str, str]
SWEEPS = "/api/v1/sweeps"


@pytest.fixture
def series(client: TestClient, headers: Headers) -> str:
    return upload(client, headers, "Hourly Demand.csv", SERIES)


@pytest.fixture
def controller(settings: Settings, database: Database) -> Controller:
    return Controller(settings, database, ArtifactStore(settings.artifact_dir), Wakes())


def body(series: str, **changes: Any) -> dict[str, Any]:
    job = {"task": FORECASTING, "dataset": series, **changes.pop("job", {})}
    return {"job": job, "space": SPACE, "max_trials": 2, "parallel": 2, **changes}


def create(client: TestClient, headers: Headers, series: str, **changes: Any) -> dict[str, Any]:
    response = client.post(SWEEPS, json=body(series, **changes), headers=headers)
    assert response.status_code == 202, response.text
    made: dict[str, Any] = response.json()
    assert response.headers["location"] == f"{SWEEPS}/{made['id']}"
    return made


def read(client: TestClient, headers: Headers, path: str) -> dict[str, Any]:
    response = client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def finish(database: Database, loss: float) -> None:
    """A worker's part of the next trial."""
    with database.transaction() as db:
        attempt = take(db).attempt
        path = f"jobs/{attempt.job_id}/attempt-1/model"
        trained = Trained(path, "a" * 64, {"loss": loss}, 7, {"step": 10})
        endings.finish(db, attempt, trained, code_version="1")


def test_a_sweep_says_what_it_will_do(client: TestClient, headers: Headers, series: str) -> None:
    made = create(client, headers, series, pruner="asha", seed=3, max_minutes=60)
    assert made == read(client, headers, f"{SWEEPS}/{made['id']}")
    job = made.pop("job")
    assert job == {"task": FORECASTING, "dataset": series, "model": "hourly-demand"}
    expected = {
        "state": "running",
        "task": FORECASTING,
        "dataset": series,
        "model": "hourly-demand",
        "version": None,
        "metric": "loss",
        "direction": "minimize",
        "sampler": "tpe",
        "pruner": "asha",
        "max_trials": 2,
        "parallel": 2,
        "max_minutes": 60,
        "seed": 3,
        "trials": {},
        "best": None,
        "error": None,
        "finished_at": None,
    }
    assert expected.items() <= made.items()
    assert made["space"][RATE] == {**SPACE[RATE], "step": None}


def test_a_sweep_to_its_end(
    client: TestClient, headers: Headers, series: str, controller: Controller, database: Database
) -> None:
    made = create(client, headers, series)
    path = f"{SWEEPS}/{made['id']}"
    controller.tick()
    assert read(client, headers, path)["trials"] == {"queued": 2}
    for loss in (0.5, 0.3):
        finish(database, loss)
    best = read(client, headers, path)["best"]
    assert (best["number"], best["value"], best["state"]) == (1, 0.3, "succeeded")
    assert best["params"].keys() == SPACE.keys()
    assert best["duration_seconds"] >= 0
    controller.tick()
    ended = read(client, headers, path)
    assert (ended["state"], ended["version"]) == ("succeeded", 1)
    assert ended["trials"] == {"succeeded": 2}
    [version] = read(client, headers, "/api/v1/models/hourly-demand/versions")["data"]
    assert version["job_id"] == best["job"]
    job = read(client, headers, f"/api/v1/jobs/{best['job']}")
    assert (job["sweep"], job["trial"], job["version"]) == (made["id"], 1, 1)
    config = job["config"]
    assert best["params"][RATE] == config["training"]["learning_rate"]
    assert read(client, headers, f"{path}/importance") == {"trials": 2, "importance": None}


def test_trials_are_listed_newest_first(
    client: TestClient, headers: Headers, series: str, controller: Controller
) -> None:
    made = create(client, headers, series, max_trials=3, parallel=3)
    create(client, headers, series, max_trials=1)
    controller.tick()
    path = f"{SWEEPS}/{made['id']}/trials"
    page = read(client, headers, f"{path}?limit=2")
    assert [trial["number"] for trial in page["data"]] == [2, 1]
    assert page["has_more"]
    rest = read(client, headers, f"{path}?after={page['data'][-1]['job']}")
    [first] = rest["data"]
    assert (first["number"], first["state"], first["value"]) == (0, "queued", None)
    jobs = read(client, headers, f"/api/v1/jobs?sweep={made['id']}")
    assert [job["trial"] for job in jobs["data"]] == [2, 1, 0]


def test_sweeps_are_listed_newest_first(client: TestClient, headers: Headers, series: str) -> None:
    ids = [create(client, headers, series)["id"] for _ in range(3)]
    page = read(client, headers, f"{SWEEPS}?limit=2")
    assert [sweep["id"] for sweep in page["data"]] == [ids[2], ids[1]]
    rest = read(client, headers, f"{SWEEPS}?after={ids[1]}")
    assert [sweep["id"] for sweep in rest["data"]] == [ids[0]]


def test_cancel_is_harmless_to_repeat(
    client: TestClient, headers: Headers, series: str, controller: Controller
) -> None:
    made = create(client, headers, series)
    controller.tick()
    for _ in range(2):
        response = client.post(f"{SWEEPS}/{made['id']}/cancel", headers=headers)
        assert response.status_code == 202
        assert response.json()["state"] == "cancelled"
        assert response.json()["finished_at"] is not None
        controller.tick()
    found = read(client, headers, f"{SWEEPS}/{made['id']}")
    assert found["trials"] == {"cancelled": 2}


def test_an_idempotency_key_makes_one_sweep(
    client: TestClient, headers: Headers, series: str
) -> None:
    keyed = {**headers, "Idempotency-Key": "once"}
    first, second = (client.post(SWEEPS, json=body(series), headers=keyed) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert len(read(client, headers, SWEEPS)["data"]) == 1


def test_names_in_the_job_are_fixed(
    client: TestClient, headers: Headers, models: dict[str, str]
) -> None:
    """What an alias points at later is another sweep's matter."""
    series = upload(client, headers, "series.csv", SERIES)
    point = client.put("/api/v1/dataset-aliases/latest", json={"dataset": series}, headers=headers)
    assert point.is_success
    job = {"dataset": "latest", "base_model": models[FORECASTING]}
    space = {RATE: SPACE[RATE]}
    made = create(client, headers, series, job=job, space=space)
    assert made["dataset"] == series
    assert made["job"]["dataset"] == series
    assert made["job"]["base_model"] == f"{models[FORECASTING]}:1"


def test_a_metric_knows_its_direction(client: TestClient, headers: Headers, series: str) -> None:
    made = create(client, headers, series, metric="mase")
    assert (made["metric"], made["direction"]) == ("mase", "minimize")


def test_another_workspace_sees_nothing_of_it(
    client: TestClient, headers: Headers, series: str, make_key: MakeKey
) -> None:
    made = create(client, headers, series)
    other = bearer(make_key(workspace_name="other"))
    assert read(client, other, SWEEPS)["data"] == []
    path = f"{SWEEPS}/{made['id']}"
    for method, place in (
        ("GET", path),
        ("GET", f"{path}/trials"),
        ("GET", f"{path}/importance"),
        ("POST", f"{path}/cancel"),
    ):
        response = client.request(method, place, headers=other)
        assert (response.status_code, problem(response)) == (404, "not-found")
    assert read(client, other, f"/api/v1/jobs?sweep={made['id']}")["data"] == []


def test_a_priority_needs_an_administrator(
    client: TestClient, series: str, make_key: MakeKey
) -> None:
    headers = bearer(make_key(ALL_SCOPES - {Scope.KEYS_ADMIN}))
    response = client.post(SWEEPS, json=body(series, job={"priority": 1}), headers=headers)
    assert (response.status_code, problem(response)) == (403, "forbidden")


def test_a_workspace_has_so_many_sweeps(
    make_app: MakeApp, headers: Headers, series: str, settings: Settings
) -> None:
    with TestClient(make_app(max_running_sweeps=1), base_url="http://localhost") as client:
        made = create(client, headers, series)
        response = client.post(SWEEPS, json=body(series), headers=headers)
        assert (response.status_code, problem(response)) == (429, "quota-exceeded")
        client.post(f"{SWEEPS}/{made['id']}/cancel", headers=headers)
        create(client, headers, series)


def dimension(**changes: Any) -> dict[str, Any]:
    return {"space": {RATE: {"type": "float", "low": 0.001, "high": 0.1, **changes}}}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"space": {}}, "body.space"),
    ({"space": None}, "body.space"),
    ({"space": []}, "body.space"),
    ({"space": {f"a{i}": dimension()["space"][RATE] for i in range(21)}}, "body.space"),
    ({"space": {"training..x": dimension()["space"][RATE]}}, "body.space.training..x.[key]"),
    ({"space": {"training.rate": dimension()["space"][RATE]}}, "body.space.training.rate"),
    ({"space": {"training": dimension()["space"][RATE]}}, "body.space.training"),
    (dimension(low="0"), f"body.space.{RATE}.low"),
    (dimension(low=0), f"body.space.{RATE}.low"),
    (dimension(high=11), f"body.space.{RATE}.high"),
    (dimension(high=0.001), f"body.space.{RATE}"),
    (dimension(log=1), f"body.space.{RATE}.log"),
    (dimension(q=1), f"body.space.{RATE}.q"),
    (dimension(type="normal"), f"body.space.{RATE}"),
    (
        {"space": {RATE: {"type": "categorical", "choices": [0.1, "x"]}}},
        f"body.space.{RATE}.choices.1",
    ),
    ({"space": {RATE: {"type": "categorical", "choices": [{}]}}}, f"body.space.{RATE}.choices.0"),
    ({**dimension(), "sampler": "grid"}, f"body.space.{RATE}"),
    ({"job": {"architecture": {"hidden_size": 0}}}, "body.job.architecture.hidden_size"),
    ({"job": {"data": {"target_column": "nope"}}}, "body.job.data.target_column"),
    ({"job": {"deadline": "2090-01-01T00:00:00Z"}}, "body.job"),
    ({"job": {"dataset": "../x"}}, "body.job.dataset"),
    ({"job": {"after": [str(uuid4())]}}, "body.job.after.0"),
    ({"metric": "accuracy"}, "body.metric"),
    ({"metric": "test_mase"}, "body.metric"),
    ({"metric": ""}, "body.metric"),
    ({"sampler": "cmaes"}, "body.sampler"),
    ({"pruner": "hyperband"}, "body.pruner"),
    ({"direction": "maximize"}, "body.direction"),
    *(({"max_trials": value}, "body.max_trials") for value in (0, 1.5, "3", True, 1_001, 10**9)),
    *(({"parallel": value}, "body.parallel") for value in (0, -1, 10**9)),
    *(({"max_minutes": value}, "body.max_minutes") for value in (0, 10**9)),
    *(({"seed": value}, "body.seed") for value in (-1, 2**53)),
]


def test_bad_bodies(client: TestClient, headers: Headers, series: str) -> None:
    """Each is refused with its place, and a good one is taken afterwards."""
    wrong = []
    for change, location in BAD:
        response = client.post(SWEEPS, json=body(series, **change), headers=headers)
        if (response.status_code, problem(response)) != (422, "validation-error"):
            wrong.append(f"{change}: {response.status_code} {response.text[:200]}")
        places = [fault["location"] for fault in response.json().get("errors", [])]
        if location not in places:
            wrong.append(f"{change}: names {places}, not {location}")
    assert not wrong, "\n".join(wrong)
    create(client, headers, series)


def test_what_is_not_there(client: TestClient, headers: Headers, series: str) -> None:
    for job in ({"dataset": str(uuid4())}, {"base_model": "nothing:3"}):
        response = client.post(SWEEPS, json=body(series, job=job), headers=headers)
        assert (response.status_code, problem(response)) == (404, "not-found")
    response = client.get(f"{SWEEPS}/{uuid4()}", headers=headers)
    assert (response.status_code, problem(response)) == (404, "not-found")


def test_a_network_beyond_the_limit(make_app: MakeApp, headers: Headers, series: str) -> None:
    """It is the range that makes it too large, not the job."""
    space = {"architecture.hidden_size": {"type": "int", "low": 8, "high": 4096}}
    with TestClient(make_app(max_parameters=200_000), base_url="http://localhost") as client:
        response = client.post(SWEEPS, json=body(series, space=space), headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")
    [fault] = response.json()["errors"]
    assert fault["location"] == "body.space.architecture.hidden_size.high"
    assert "200,000 are allowed" in fault["message"]
