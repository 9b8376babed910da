"""The page of keys without a browser."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.api.schemas.keys import KeyView
from service.auth.subjects import Scope
from service.dashboard.keys import state_of
from tests.api.conftest import MakeKey, bearer

HTML = {"Accept": "text/html,*/*;q=0.8"}
SCRIPT = "<script>alert(1)</script>"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def page(client: TestClient, key: str, path: str = "/keys") -> str:
    answer = client.get(path, headers={**HTML, **bearer(key)})
    assert answer.status_code == 200, answer.text
    return answer.text


def test_keys_are_listed_without_their_secrets(client: TestClient, key: str) -> None:
    """bad_inputs dashboard-01."""
    body = {"name": SCRIPT, "scopes": ["predict"]}
    made = client.post("/api/v1/keys", json=body, headers=bearer(key)).json()
    text = page(client, key)
    assert "&lt;script&gt;alert(1)" in text
    assert SCRIPT not in text
    assert f"rp_{made['public_id']}" in text
    assert made["key"] not in text
    assert text.count("signed in with<") == 1
    client.delete(f"/api/v1/keys/{made['id']}", headers=bearer(key))
    text = page(client, key)
    assert ">revoked<" in text
    assert f"revoke-{made['id']}" not in text


def test_only_what_the_own_key_may_do_is_offered(client: TestClient, make_key: MakeKey) -> None:
    text = page(client, make_key([Scope.KEYS_ADMIN, Scope.PREDICT]))
    assert text.count('name="scopes"') == 2
    other = client.get("/keys", headers={**HTML, **bearer(make_key([Scope.PREDICT]))})
    assert other.status_code == 403


def test_keys_come_in_pages(client: TestClient, key: str, make_key: MakeKey) -> None:
    make_key()
    first = page(client, key, "/keys?limit=1")
    assert "signed in with<" not in first
    older = first.partition('<a href="/keys?after=')[2].partition('"')[0]
    assert "signed in with<" in page(client, key, f"/keys?after={older}")


@pytest.mark.parametrize(
    ("times", "state"),
    [
        ({}, "valid"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + HOUR, "not_before": NOW}, "valid"),
        ({"not_before": NOW + HOUR}, "not yet"),
        ({"revoked_at": NOW - HOUR, "expires_at": NOW - HOUR}, "revoked"),
    ],
)
def test_a_key_has_one_state(times: dict[str, Any], state: str) -> None:
    fields: dict[str, Any] = dict.fromkeys(KeyView.model_fields)
    known = {"id": "0199a2b4-0000-7000-8000-000000000000", "name": "n", "public_id": "p"}
    fields |= {**known, "scopes": ["predict"], "created_at": NOW - HOUR, **times}
    assert state_of(KeyView.model_validate(fields), NOW) == state
