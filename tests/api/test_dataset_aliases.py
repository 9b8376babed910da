from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from service.auth.subjects import Scope
from tests.api.conftest import MakeKey, bearer, problem
from tests.api.job_requests import CORPUS, FORECASTING, SERIES, submit, upload

Headers = dict[str, str]
ALIASES = "/api/v1/dataset-aliases"
AN_ID = UUID("0199e2a4-5b1c-7d3e-8f60-1a2b3c4d5e6f")


@pytest.fixture
def dataset(client: TestClient, headers: Headers) -> str:
    return upload(client, headers, "series.csv", SERIES)


def point(client: TestClient, headers: Headers, alias: str, dataset: str) -> None:
    response = client.put(f"{ALIASES}/{alias}", json={"dataset": dataset}, headers=headers)
    assert response.status_code == 200, response.text


def test_an_alias_is_made_moved_and_deleted(
    client: TestClient, headers: Headers, dataset: str
) -> None:
    point(client, headers, "latest", dataset)
    first = client.get(f"{ALIASES}/latest", headers=headers).json()
    assert (first["alias"], first["dataset"]) == ("latest", dataset)
    newer = upload(client, headers, "newer.csv", SERIES + "2024-02-01T00:00:00,1\n")
    point(client, headers, "latest", newer)
    second = client.get(f"{ALIASES}/latest", headers=headers).json()
    assert (second["id"], second["dataset"]) == (first["id"], newer)
    assert second["moved_at"] > first["moved_at"]
    assert client.get(ALIASES, headers=headers).json() == {"data": [second], "has_more": False}
    assert client.delete(f"{ALIASES}/latest", headers=headers).status_code == 204
    assert client.get(ALIASES, headers=headers).json()["data"] == []
    for method in ("GET", "DELETE"):
        response = client.request(method, f"{ALIASES}/latest", headers=headers)
        assert (response.status_code, problem(response)) == (404, "not-found")


def test_a_job_that_names_it_trains_on_what_it_points_at(
    client: TestClient, headers: Headers, dataset: str
) -> None:
    point(client, headers, "latest", dataset)
    job = submit(client, headers, "latest")
    assert job["dataset"] == dataset
    newer = upload(client, headers, "newer.csv", SERIES + "2024-02-01T00:00:00,1\n")
    point(client, headers, "latest", newer)
    assert submit(client, headers, "latest")["dataset"] == newer
    assert client.get(f"/api/v1/jobs/{job['id']}", headers=headers).json()["dataset"] == dataset


def test_an_unknown_alias_is_not_found(client: TestClient, headers: Headers) -> None:
    body = {"task": FORECASTING, "dataset": "latest"}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (404, "not-found")
    assert "latest" in response.json()["detail"]


def test_a_data_set_that_has_an_alias_is_not_deleted(
    client: TestClient, headers: Headers, dataset: str
) -> None:
    point(client, headers, "latest", dataset)
    response = client.delete(f"/api/v1/datasets/{dataset}", headers=headers)
    assert (response.status_code, problem(response)) == (409, "conflict")
    assert "'latest'" in response.json()["detail"]
    client.delete(f"{ALIASES}/latest", headers=headers)
    assert client.delete(f"/api/v1/datasets/{dataset}", headers=headers).status_code == 204


@pytest.mark.parametrize("alias", ["Latest", "-x", "a" * 65, "a b", str(AN_ID), AN_ID.hex])
def test_a_name_that_cannot_be_an_alias_is_refused(
    alias: str, client: TestClient, headers: Headers, dataset: str
) -> None:
    response = client.put(f"{ALIASES}/{alias}", json={"dataset": dataset}, headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")
    assert response.json()["errors"][0]["location"] == "path.alias"


def test_it_points_at_what_is_there(client: TestClient, headers: Headers, dataset: str) -> None:
    unknown = client.put(f"{ALIASES}/latest", json={"dataset": str(uuid4())}, headers=headers)
    assert (unknown.status_code, problem(unknown)) == (404, "not-found")
    point(client, headers, "latest", dataset)
    chained = client.put(f"{ALIASES}/other", json={"dataset": "latest"}, headers=headers)
    assert (chained.status_code, problem(chained)) == (422, "validation-error")


def test_another_workspace_has_aliases_of_its_own(
    client: TestClient, headers: Headers, make_key: MakeKey, dataset: str
) -> None:
    point(client, headers, "latest", dataset)
    other = bearer(make_key(workspace_name="other"))
    assert client.get(f"{ALIASES}/latest", headers=other).status_code == 404
    assert client.get(ALIASES, headers=other).json()["data"] == []
    stolen = client.put(f"{ALIASES}/mine", json={"dataset": dataset}, headers=other)
    assert stolen.status_code == 404
    own = upload(client, other, "corpus.txt", CORPUS)
    point(client, other, "latest", own)
    assert client.get(f"{ALIASES}/latest", headers=headers).json()["dataset"] == dataset


def test_the_scopes_are_those_of_data_sets(
    client: TestClient, make_key: MakeKey, dataset: str
) -> None:
    reader = bearer(make_key([Scope.DATASETS_READ]))
    assert client.get(ALIASES, headers=reader).status_code == 200
    response = client.put(f"{ALIASES}/latest", json={"dataset": dataset}, headers=reader)
    assert (response.status_code, problem(response)) == (403, "forbidden")
