"""/api/v1/keys: bad_inputs family keys."""

import threading
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, text
from starlette.testclient import TestClient

from service.auth.subjects import ALL_SCOPES, Scope
from service.db.engine import Database
from service.db.tables import ApiKey
from tests.api.conftest import MakeKey, bearer, problem

KEYS = "/api/v1/keys"
Headers = dict[str, str]


def create(client: TestClient, headers: Headers, **body: Any) -> Any:
    response = client.post(KEYS, headers=headers, json={"name": "n", "scopes": ["predict"], **body})
    assert response.status_code == 201, response.text
    return response.json()


def test_a_made_key_works_within_its_scopes(client: TestClient, headers: Headers) -> None:
    response = client.post(
        KEYS, headers=headers, json={"name": "a", "scopes": ["keys:admin", "jobs:read"]}
    )
    made = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"{KEYS}/{made['id']}"
    assert made["scopes"] == ["jobs:read", "keys:admin"]
    assert made["public_id"] in made["key"]
    seen = client.get(response.headers["location"], headers=bearer(made["key"])).json()
    assert seen["last_used_at"] is not None
    assert {**seen, "last_used_at": None} == {k: v for k, v in made.items() if k != "key"}


def test_no_other_answer_holds_the_secret_or_its_hash(
    client: TestClient, headers: Headers, database: Database
) -> None:
    """keys-17."""
    made = create(client, headers)
    secret = made["key"].split("_")[2]
    with database.transaction() as db:
        digest = db.scalars(select(ApiKey.secret_sha256).where(ApiKey.id == UUID(made["id"]))).one()
        stored = db.scalars(text("SELECT string_agg(k::text, ' ') FROM api_keys k")).one()
    assert secret not in stored
    for path in (KEYS, f"{KEYS}/{made['id']}"):
        answer = client.get(path, headers=headers).text
        assert made["id"] in answer
        assert secret not in answer
        assert digest.hex() not in answer


def test_a_key_cannot_give_what_it_lacks(client: TestClient, make_key: MakeKey) -> None:
    """keys-12."""
    headers = bearer(make_key({Scope.KEYS_ADMIN, Scope.JOBS_READ}))
    response = client.post(
        KEYS, headers=headers, json={"name": "a", "scopes": ["jobs:read", "jobs:write"]}
    )
    assert response.status_code == 403
    assert problem(response) == "forbidden"
    assert "jobs:write" in response.json()["detail"]


def test_bad_bodies_name_the_place(client: TestClient, headers: Headers) -> None:
    """keys-13 to keys-16."""
    good = {"name": "a", "scopes": ["predict"]}
    many = ["predict"] * 10_000
    for change, location in (
        ({"workspace_id": str(uuid4())}, "body.workspace_id"),
        ({"owner": "me"}, "body.owner"),
        ({"scopes": []}, "body.scopes"),
        ({"scopes": ["*"]}, "body.scopes.0"),
        ({"scopes": ["jobs:write\0"]}, "body.scopes.0"),
        ({"scopes": many}, "body.scopes"),
        ({"scopes": ["predict", "predict"]}, "body.scopes"),
        ({"scopes": "predict"}, "body.scopes"),
        ({"scopes": [1]}, "body.scopes.0"),
        ({"name": "x" * 10_240}, "body.name"),
        ({"name": "a\0"}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"name": "  "}, "body.name"),
        ({"name": None}, "body.name"),
        ({"name": 5}, "body.name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "body.expires_at"),
        ({"expires_at": "10000-01-01T00:00:00Z"}, "body.expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "body.expires_at"),
        ({"expires_at": "2030-02-30T00:00:00Z"}, "body.expires_at"),
        ({"expires_at": "never"}, "body.expires_at"),
        ({"expires_at": "1900000000"}, "body.expires_at"),
        ({"expires_at": 1_900_000_000}, "body.expires_at"),
        ({"expires_at": 10**20}, "body.expires_at"),
        ({"expires_at": True}, "body.expires_at"),
        ({"expires_at": "2030-01-01T00:00:00Z", "not_before": "2031-01-01T00:00:00Z"},
         "body.expires_at"),
    ):  # fmt: skip
        response = client.post(KEYS, headers=headers, json={**good, **change})
        assert response.status_code == 422, change
        assert problem(response) == "validation-error"
        assert [each["location"] for each in response.json()["errors"]] == [location]
    assert len(client.get(KEYS, headers=headers).json()["data"]) == 1
    create(client, headers)


def test_markup_in_a_name_is_text(client: TestClient, headers: Headers) -> None:
    made = create(client, headers, name="<script>alert(1)</script>")
    answer = client.get(f"{KEYS}/{made['id']}", headers=headers)
    assert answer.json()["name"] == "<script>alert(1)</script>"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_other_workspaces_cannot_be_seen(
    client: TestClient, headers: Headers, make_key: MakeKey
) -> None:
    """keys-18."""
    made = create(client, headers)
    others = bearer(make_key(workspace_name="other"))
    for method in ("GET", "DELETE"):
        response = client.request(method, f"{KEYS}/{made['id']}", headers=others)
        assert response.status_code == 404
        assert problem(response) == "not-found"
    assert made["id"] not in client.get(KEYS, headers=others).text
    response = client.get(KEYS, headers=others, params={"after": made["id"]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["location"] == "query.after"


def test_unknown_ids(client: TestClient, headers: Headers) -> None:
    for key_id, status in ((uuid4(), 404), ("-1", 422), (2**63, 422), ("%00", 404), ("x", 422)):
        for method in ("GET", "DELETE"):
            response = client.request(method, f"{KEYS}/{key_id}", headers=headers)
            assert response.status_code == status, key_id
            problem(response)


def test_a_revoked_key_is_refused_at_once(client: TestClient, headers: Headers) -> None:
    """keys-19, and sentiment-33 where keys stand for users."""
    own = create(client, headers, scopes=["keys:admin", "predict"])
    mine = bearer(own["key"])
    assert client.get(KEYS, headers=mine).status_code == 200
    response = client.delete(f"{KEYS}/{own['id']}", headers=mine)
    assert (response.status_code, response.content) == (204, b"")
    assert client.get(KEYS, headers=mine).status_code == 401
    refused = client.post("/api/v1/sentiment", json={"text": "a"}, headers=mine)
    assert (refused.status_code, problem(refused)) == (401, "unauthenticated")
    first = client.get(f"{KEYS}/{own['id']}", headers=headers).json()["revoked_at"]
    assert first is not None
    assert client.delete(f"{KEYS}/{own['id']}", headers=headers).status_code == 204
    assert client.get(f"{KEYS}/{own['id']}", headers=headers).json()["revoked_at"] == first


def test_the_last_admin_key_stays(client: TestClient, headers: Headers, make_key: MakeKey) -> None:
    """keys-20. Keys of others, and keys that are no longer valid, do not count."""
    make_key(workspace_name="other")
    create(client, headers, scopes=["predict"])
    gone = create(client, headers, scopes=["keys:admin"])
    assert client.delete(f"{KEYS}/{gone['id']}", headers=headers).status_code == 204
    create(client, headers, scopes=["keys:admin"], not_before="2100-01-01T00:00:00Z")
    own = client.get(KEYS, headers=headers).json()["data"][-1]["id"]
    response = client.delete(f"{KEYS}/{own}", headers=headers)
    assert response.status_code == 409
    assert problem(response) == "conflict"
    assert client.get(KEYS, headers=headers).status_code == 200


def test_two_admins_cannot_lock_each_other_out(
    client: TestClient, headers: Headers, database: Database
) -> None:
    own = client.get(KEYS, headers=headers).json()["data"][0]["id"]
    other = create(client, headers, scopes=["keys:admin"])
    statuses: list[int] = []
    both = threading.Barrier(2)

    def revoke(key_id: str, by: Headers) -> None:
        both.wait()
        statuses.append(client.delete(f"{KEYS}/{key_id}", headers=by).status_code)

    threads = [
        threading.Thread(target=revoke, args=(other["id"], headers)),
        threading.Thread(target=revoke, args=(own, bearer(other["key"]))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses)[0] == 204
    assert sorted(statuses)[1] in {401, 409}
    with database.transaction() as db:
        assert len(db.scalars(select(ApiKey).where(ApiKey.revoked_at.is_(None))).all()) == 1


def test_lists_are_pages_from_new_to_old(client: TestClient, headers: Headers) -> None:
    made = [create(client, headers, name=f"k{number}")["id"] for number in range(4)]
    first = client.get(KEYS, headers=headers, params={"limit": 3}).json()
    assert [each["id"] for each in first["data"]] == made[:0:-1]
    assert first["has_more"] is True
    rest = client.get(KEYS, headers=headers, params={"limit": 3, "after": made[1]}).json()
    assert (rest["data"][0]["id"], len(rest["data"]), rest["has_more"]) == (made[0], 2, False)


def test_bad_pages_are_refused(client: TestClient, headers: Headers) -> None:
    """jobs-38."""
    for query, location in (
        ("limit=-1", "query.limit"),
        ("limit=0", "query.limit"),
        ("limit=1000000000", "query.limit"),
        ("limit=x", "query.limit"),
        ("limit=", "query.limit"),
        ("after=%00", "query.after"),
        ("after=garbage", "query.after"),
        (f"after={uuid4()}", "query.after"),
        ("cursor=x", "query.cursor"),
        ("sort=;drop", "query.sort"),
        ("%ff=1", "query.\ufffd"),
    ):
        response = client.get(f"{KEYS}?{query}", headers=headers)
        assert response.status_code == 422, query
        assert problem(response) == "validation-error"
        assert [each["location"] for each in response.json()["errors"]] == [location]


def test_scopes_are_the_documented_ones() -> None:
    assert {scope.value for scope in ALL_SCOPES} == {
        "datasets:read", "datasets:write", "jobs:read", "jobs:write", "models:read",
        "models:write", "predict", "keys:admin",
    }  # fmt: skip
