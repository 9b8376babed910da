"""`/api/v1/usage` and its page: what was counted is what was asked for."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from redis.asyncio.client import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy import update
from starlette.testclient import TestClient

from service.auth.subjects import ALL_SCOPES, Scope, Subject
from service.db.engine import Database
from service.db.tables import JobAttempt
from service.errors import UnavailableError
from service.settings import Settings
from service.usage.counts import Usage
from tests.api.conftest import MakeKey, bearer, problem
from tests.api.job_requests import SERIES, submit, upload
from tests.api.test_dashboard_compare import page
from tests.job_records import take

Headers = dict[str, str]
USAGE = "/api/v1/usage"
DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def rows(client: TestClient, headers: Headers, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"{USAGE}{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_predictions_are_counted_with_the_key_that_asked(
    client: TestClient, headers: Headers, models: dict[str, str], make_key: MakeKey
) -> None:
    other = bearer(make_key([Scope.PREDICT]))
    asked = [
        ("forecasts", {"model": "demand", "series": [[1.0] * 30, [2.0] * 30], "horizon": 2}),
        ("sentiment", {"model": "reviews", "texts": ["a warm film", "a cold mess", "good"]}),
        ("generations", {"model": "verses", "prompt": "the fox", "max_new_tokens": 5}),
    ]
    for path, body in asked:
        answer = client.post(f"/api/v1/{path}", json=body, headers=other)
        assert answer.status_code == 200, answer.text
    told = answer.json()["usage"]
    assert client.post("/api/v1/forecasts", json={}, headers=other).status_code == 422
    [row] = [each for each in rows(client, headers) if each["requests"] == 4]
    today = datetime.now(UTC).date()
    assert date.fromisoformat(row.pop("day")) in (today, today - timedelta(days=1))
    assert row.pop("key")
    assert row == {
        "key_name": "test",
        "requests": 4,
        "series": 2,
        "texts": 3,
        "prompt_tokens": told["prompt_tokens"],
        "generated_tokens": told["completion_tokens"],
        "session_steps": 0,
        "training_minutes": 0.0,
    }


def test_a_stream_and_steps_of_a_session_are_counted(
    client: TestClient, headers: Headers, models: dict[str, str]
) -> None:
    body = {"model": "verses", "prompt": "the fox", "max_new_tokens": 5, "stream": True}
    with client.stream("POST", "/api/v1/generations", json=body, headers=headers) as answer:
        text = "".join(answer.iter_text())
    assert "event: done" in text
    made = client.post("/api/v1/sessions", json={"model": "verses"}, headers=headers).json()
    step = {"text": "the", "max_new_tokens": 2, "seq": 1}
    for _ in range(2):  # the second time it is answered from what was kept
        path = f"/api/v1/sessions/{made['id']}/steps"
        assert client.post(path, json=step, headers=headers).status_code == 200
    [row] = rows(client, headers)
    assert (row["session_steps"], row["requests"]) == (1, 5)
    assert row["prompt_tokens"] > 0
    assert 0 < row["generated_tokens"] <= 5


def test_minutes_of_training_are_those_of_each_day(
    client: TestClient, headers: Headers, database: Database
) -> None:
    submit(client, headers, upload(client, headers, "series.csv", SERIES))
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    with database.transaction() as db:
        attempt = take(db).attempt
        times = {
            "started_at": midnight - timedelta(minutes=90),
            "ended_at": midnight + timedelta(minutes=30),
        }
        db.execute(update(JobAttempt).where(JobAttempt.job_id == attempt.job_id).values(times))
    found = rows(client, headers, "?since=2026-03-01&until=2026-03-05")
    minutes = {row["day"]: row["training_minutes"] for row in found}
    assert minutes == {"2026-03-02": 30.0, "2026-03-01": 90.0}
    assert list(minutes) == ["2026-03-02", "2026-03-01"]
    [row] = rows(client, headers, "?since=2026-03-02&until=2026-03-02")
    assert row["training_minutes"] == 30.0


@pytest.mark.parametrize(
    "query",
    [
        "?since=2026-03-02&until=2026-03-01",
        "?since=2024-01-01&until=2026-03-01",
        "?since=9999-12-31",
        "?since=today",
        "?until=2026-02-30",
    ],
)
def test_days_that_cannot_be_asked_for(client: TestClient, headers: Headers, query: str) -> None:
    answer = client.get(f"{USAGE}{query}", headers=headers)
    assert (answer.status_code, problem(answer)) == (422, "validation-error")


def test_the_first_and_the_last_day_there_are(client: TestClient, headers: Headers) -> None:
    for query in ("?until=0001-01-01", "?since=9999-12-01&until=9999-12-31"):
        assert rows(client, headers, query) == []


def test_it_is_for_who_administers_keys_and_of_one_workspace(
    client: TestClient, headers: Headers, make_key: MakeKey
) -> None:
    """bad_inputs dashboard-20."""
    most = bearer(make_key(ALL_SCOPES - {Scope.KEYS_ADMIN}))
    for path in (USAGE, "/usage"):
        assert client.get(path, headers=most).status_code == 403
    other = bearer(make_key(workspace_name="other"))
    rows(client, headers)
    [row] = rows(client, other)
    assert row["requests"] == 1


def test_the_page_has_the_same_numbers_and_names_as_text(
    client: TestClient, headers: Headers
) -> None:
    """bad_inputs dashboard-01."""
    script = "<script>alert(1)</script>"
    body = {"name": script, "scopes": ["jobs:read"]}
    made = client.post("/api/v1/keys", json=body, headers=headers).json()
    for _ in range(3):
        client.get("/api/v1/jobs", headers=bearer(made["key"]))
    text = page(client, headers, "/usage")
    assert script not in text
    row = text.partition("&lt;script&gt;alert(1)&lt;/script&gt;</th>")[2].partition("</tr>")[0]
    assert '<td data-value="3">3</td>' in row


def test_it_says_that_redis_is_away(make_app: Any, headers: Headers) -> None:
    app: FastAPI = make_app()
    with TestClient(app, base_url="http://localhost") as client:

        async def refuse(*_: object, **__: object) -> None:
            raise UnavailableError("What was used cannot be read.")

        app.state.services.usage.read = refuse
        assert problem(client.get(USAGE, headers=headers)) == "unavailable"


def test_what_redis_took_without_an_answer_counts_once(
    settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(uuid4(), uuid4(), ALL_SCOPES)

    async def count() -> dict[str, int]:
        usage = Usage(redis_url, clock=lambda: NOON)
        usage.count(subject, "requests")
        await usage.carry()
        usage.count(subject, "series", 7)
        execute = Redis.execute_command

        async def lose(self: Redis, *arguments: Any, **options: Any) -> Any:
            await execute(self, *arguments, **options)
            raise RedisTimeoutError("the answer was lost")

        with monkeypatch.context() as patch:
            patch.setattr(Redis, "execute_command", lose)
            with pytest.raises(RedisTimeoutError):
                await usage.carry()
        usage.count(subject, "series", 1)
        found = await usage.read(subject.workspace_id, DAY, DAY)
        await usage.close()
        return dict(found[DAY, subject.key_id])

    assert asyncio.run(count()) == {"requests": 1, "series": 8}


def test_processes_add_up_and_nothing_is_lost_while_redis_is_away(redis_url: str) -> None:
    subject = Subject(uuid4(), uuid4(), ALL_SCOPES)

    async def count() -> dict[str, int]:
        away = Usage("redis://127.0.0.1:1/0", clock=lambda: NOON)
        away.count(subject, "texts", 2)
        with pytest.raises(UnavailableError):
            await away.read(subject.workspace_id, DAY, DAY)
        await away.close()
        one, two = (Usage(redis_url, clock=lambda: NOON) for _ in range(2))
        for each in (one, two):
            each.count(subject, "texts", 2)
            each.count(subject, "requests")
            await each.close()
        found = await one.read(subject.workspace_id, DAY - timedelta(days=1), DAY)
        await one.close()
        return dict(found[DAY, subject.key_id])

    assert asyncio.run(count()) == {"texts": 4, "requests": 2}
