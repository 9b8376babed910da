"""Live sessions over HTTP: what steps answer, and what becomes of a session between them."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import redis
from starlette.testclient import TestClient

from rnn.checkpoint import read, write
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Workspace
from service.inference.engine import Engine
from service.sessions.records import Held
from service.sessions.store import SessionStore
from service.settings import Settings
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION, publish

PATH = "/api/v1/sessions"
SERIES = [10 + np.sin(i / 2) for i in range(60)]
TEXT = "a warm and lovely film with a great heart, and a terrible end"

pytestmark = pytest.mark.usefixtures("models")
Headers = dict[str, str]


def create(client: TestClient, headers: Headers, model: str = "verses", **body: Any) -> str:
    """Its path."""
    response = client.post(PATH, json={"model": model, **body}, headers=headers)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"{PATH}/{response.json()['id']}"
    return response.headers["location"]


def await_version(client: TestClient, headers: Headers, model: str, version: int) -> str:
    """The path of a session of it, once the application has heard of it."""
    deadline = time.monotonic() + 30
    while True:
        path = create(client, headers, model)
        if client.get(path, headers=headers).json()["model"]["version"] == version:
            return path
        assert time.monotonic() < deadline
        time.sleep(0.05)


def step(client: TestClient, headers: Headers, path: str, **body: Any) -> Any:
    response = client.post(f"{path}/steps", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def ask(client: TestClient, headers: Headers, route: str, **body: Any) -> Any:
    response = client.post(f"/api/v1/{route}", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_session_and_its_life(client: TestClient, headers: Headers) -> None:
    path = create(client, headers, ttl_seconds=60, metadata={"user": "7"})
    shown = client.get(path, headers=headers).json()
    assert shown["model"] == {"name": "verses", "version": 1}
    assert shown["task"] == "text-generation"
    assert (shown["seq"], shown["ttl_seconds"], shown["metadata"]) == (0, 60, {"user": "7"})
    answer = step(client, headers, path, text="the ")
    assert answer["session"] == shown["id"]
    assert answer["seq"] == 1
    assert answer["expires_at"] > shown["expires_at"]
    assert client.get(path, headers=headers).json()["expires_at"] == answer["expires_at"]
    assert client.delete(path, headers=headers).status_code == 204
    assert problem(client.delete(path, headers=headers)) == "not-found"


def test_a_series_in_steps_is_forecast_as_the_whole(client: TestClient, headers: Headers) -> None:
    path = create(client, headers, "demand")
    for start in range(0, 50, 10):
        answer = step(client, headers, path, values=SERIES[start : start + 10])
        assert answer["result"] == {"timesteps": start + 10}
    asked = {"horizon": 7, "quantiles": [0.2, 0.5]}
    last = step(client, headers, path, values=SERIES[50:], **asked)["result"]
    (whole,) = ask(client, headers, "forecasts", model="demand", series=SERIES, **asked)[
        "forecasts"
    ]
    assert last == {"timesteps": 60, **whole}
    assert step(client, headers, path, **asked)["result"] == last  # with nothing new


def test_a_text_is_classified_while_its_words_arrive(client: TestClient, headers: Headers) -> None:
    path = create(client, headers, "reviews")
    for end in range(0, len(TEXT), 5):
        piece = TEXT[end : end + 5]
        answer = step(client, headers, path, text=piece, all_scores=True)["result"]
        so_far = TEXT[: end + 5]
        (expected,) = ask(
            client, headers, "sentiment", model="reviews", text=so_far, all_scores=True
        )["results"]
        tokens = answer.pop("tokens")
        assert answer == expected
    assert tokens == 14  # with the comma


def test_a_text_is_read_and_gone_on_with(client: TestClient, headers: Headers) -> None:
    path = create(client, headers, seed=5)
    hot = {"temperature": 1.5, "top_k": 30, "repetition_penalty": 1.1}
    assert step(client, headers, path, text="the qu")["result"] == {"tokens": 6}
    step(client, headers, path, text="ick ")
    drawn = [
        step(client, headers, path, max_new_tokens=tokens, logprobs=2, **hot)["result"]
        for tokens in (5, 12, 7)
    ]
    (choice,) = ask(
        client, headers, "generations", model="verses", prompt="the quick ", max_new_tokens=24,
        seed=5, logprobs=2, **hot,
    )["choices"]  # fmt: skip
    assert [token for each in drawn for token in each["logprobs"]] == choice["logprobs"]
    said = "".join(each["text"] for each in drawn)
    assert choice["text"].rstrip("\ufffd").startswith(said.rstrip("\ufffd"))
    assert {each["finish_reason"] for each in drawn} == {"length"}
    assert drawn[-1]["tokens"] == 10 + 24


def test_the_likeliest_next_tokens(client: TestClient, headers: Headers) -> None:
    path = create(client, headers)
    best = step(client, headers, path, text="the quick bro", top=5)["result"]["next"]
    assert len(best) == 5
    assert best[0]["text"] == "w"
    assert [each["logprob"] for each in best] == sorted(
        (each["logprob"] for each in best), reverse=True
    )
    drawn = step(client, headers, path, max_new_tokens=4, temperature=0, top=1)["result"]
    assert drawn["text"] == "wn f"
    assert drawn["next"][0]["text"] == "o"


def test_a_stop_string_ends_a_step_and_was_read(client: TestClient, headers: Headers) -> None:
    path = create(client, headers)
    cold = {"temperature": 0, "max_new_tokens": 40}
    first = step(client, headers, path, text="the quick ", stop=[" jumps"], **cold)["result"]
    assert (first["text"], first["finish_reason"]) == ("brown fox", "stop")
    assert step(client, headers, path, **cold)["result"]["text"].startswith(" over the lazy")


def test_a_session_stays_with_its_version(
    client: TestClient,
    headers: Headers,
    trained: Mapping[str, Path],
    database: Database,
    settings: Settings,
    workspace: Workspace,
) -> None:
    path = create(client, headers)
    store = ArtifactStore(settings.artifact_dir)
    publish(database, store, workspace.id, "verses", GENERATION, trained[GENERATION])
    assert step(client, headers, path, text="the ")["model"] == {"name": "verses", "version": 1}
    newer = create(client, headers)
    assert step(client, headers, newer, text="the ")["model"] == {"name": "verses", "version": 2}


def test_a_step_that_comes_again_is_answered_again(client: TestClient, headers: Headers) -> None:
    """sessions-11, sessions-13: by its number and body, whatever its drawing is."""
    path = create(client, headers)
    body = {"seq": 1, "text": "the ", "max_new_tokens": 20, "temperature": 3.0}
    first = step(client, headers, path, **body)
    assert step(client, headers, path, **body) == first
    assert client.get(path, headers=headers).json()["seq"] == 1
    other = client.post(f"{path}/steps", json={**body, "text": "a "}, headers=headers)
    assert (other.status_code, problem(other)) == (422, "idempotency-mismatch")
    for seq in (3, 5):
        skipped = client.post(f"{path}/steps", json={**body, "seq": seq}, headers=headers)
        assert (skipped.status_code, problem(skipped)) == (409, "conflict")
    second = step(client, headers, path, **{**body, "seq": 2})
    assert second["seq"] == 2
    assert second["result"]["tokens"] == 2 * first["result"]["tokens"]
    old = client.post(f"{path}/steps", json=body, headers=headers)
    assert (old.status_code, problem(old)) == (409, "conflict")
    assert step(client, headers, path, text="x")["seq"] == 3


@pytest.mark.parametrize("same_body", [True, False])
def test_of_two_steps_at_once_one_counts(
    client: TestClient, headers: Headers, monkeypatch: pytest.MonkeyPatch, same_body: bool
) -> None:
    """sessions-10: both are read before either is written."""
    path = create(client, headers)
    advance = Engine.advance
    arrived = 0

    async def met(self: Engine, *arguments: Any) -> Any:
        nonlocal arrived
        answer = await advance(self, *arguments)
        arrived += 1
        while arrived < 2:
            await asyncio.sleep(0.001)
        return answer

    monkeypatch.setattr(Engine, "advance", met)
    answers = []

    def send(text: str) -> None:
        body = {"seq": 1, "text": text}
        answers.append(client.post(f"{path}/steps", json=body, headers=headers))

    threads = [
        threading.Thread(target=send, args=(text,)) for text in ("a", "a" if same_body else "b")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert client.get(path, headers=headers).json()["seq"] == 1


def test_snapshots(client: TestClient, headers: Headers) -> None:
    path = create(client, headers)
    step(client, headers, path, text="the quick ")
    taken = client.post(f"{path}/snapshot", headers=headers)
    assert (taken.status_code, taken.json()) == (201, {"snapshot": 1, "seq": 1})
    cold = {"max_new_tokens": 9, "temperature": 0}
    expected = step(client, headers, path, **cold)["result"]
    step(client, headers, path, text="something else")
    restored = client.post(f"{path}/restore", json={"snapshot": 1}, headers=headers)
    assert restored.json()["seq"] == 3
    assert restored.json()["snapshots"] == [1]
    again = step(client, headers, path, seq=4, **cold)["result"]
    assert again == expected
    missing = client.post(f"{path}/restore", json={"snapshot": 2}, headers=headers)
    assert (missing.status_code, problem(missing)) == (404, "not-found")


def test_the_oldest_snapshot_makes_room(make_app: MakeApp, headers: Headers) -> None:
    with TestClient(make_app(max_session_snapshots=2), base_url="http://localhost") as client:
        path = create(client, headers)
        for number in (1, 2, 3):
            taken = client.post(f"{path}/snapshot", headers=headers).json()
            assert taken["snapshot"] == number
        assert client.get(path, headers=headers).json()["snapshots"] == [2, 3]
        for number, status in ((1, 404), (2, 200), (3, 200)):
            body = {"snapshot": number}
            response = client.post(f"{path}/restore", json=body, headers=headers)
            assert response.status_code == status


def test_a_fork_goes_its_own_way(client: TestClient, headers: Headers) -> None:
    path = create(client, headers, seed=3, metadata={"a": "b"})
    step(client, headers, path, text="the quick ", max_new_tokens=3)
    response = client.post(f"{path}/fork", headers=headers)
    assert response.status_code == 201
    fork = response.headers["location"]
    assert fork != path
    assert response.json()["seq"] == 0
    assert response.json()["metadata"] == {}
    drawn = {"max_new_tokens": 10, "temperature": 2.0}
    first = step(client, headers, path, **drawn)["result"]
    step(client, headers, path, text="other")
    assert step(client, headers, fork, **drawn)["result"] == first
    client.delete(path, headers=headers)
    assert step(client, headers, fork, text="on")["seq"] == 2


@pytest.mark.parametrize("model", ["verses", "demand", "reviews"])
def test_a_state_leaves_and_comes_back(client: TestClient, headers: Headers, model: str) -> None:
    path = create(client, headers, model)
    first: dict[str, Any] = {"values": SERIES} if model == "demand" else {"text": "a lovely qu"}
    step(client, headers, path, **first)
    exported = client.post(f"{path}/export", headers=headers).json()
    assert exported["model"]["name"] == model
    client.delete(path, headers=headers)
    body = {"state": exported["state"], "ttl_seconds": 9, "metadata": {"x": "y"}}
    back = client.post(f"{PATH}/import", json=body, headers=headers)
    assert back.status_code == 201
    assert (back.json()["ttl_seconds"], back.json()["metadata"]) == (9, {"x": "y"})
    more = {"values": [1.0], "horizon": 2} if model == "demand" else {"text": "ick"}
    answer = step(client, headers, back.headers["location"], **more)["result"]
    held = create(client, headers, model)
    step(client, headers, held, **first)
    assert answer == step(client, headers, held, **more)["result"]


def test_sessions_are_listed_newest_first_in_pages(
    client: TestClient, headers: Headers, make_key: MakeKey
) -> None:
    assert client.get(PATH, headers=headers).json() == {"data": [], "has_more": False}
    ids = [create(client, headers).rpartition("/")[2] for _ in range(5)]
    other = bearer(make_key(workspace_name="other"))
    assert client.get(PATH, headers=other).json()["data"] == []
    client.delete(f"{PATH}/{ids[1]}", headers=headers)
    first = client.get(PATH, params={"limit": 2}, headers=headers).json()
    assert first["has_more"]
    seen = [each["id"] for each in first["data"]]
    rest = client.get(PATH, params={"after": seen[-1]}, headers=headers).json()
    assert not rest["has_more"]
    seen += [each["id"] for each in rest["data"]]
    assert sorted(seen) == sorted(set(ids) - {ids[1]})
    made = [
        datetime.fromisoformat(each["created_at"])
        for page in (first, rest)
        for each in page["data"]
    ]
    assert made == sorted(made, reverse=True)


def test_a_repeated_creation_makes_one_session(client: TestClient, headers: Headers) -> None:
    """sessions-39."""
    once = {**headers, "Idempotency-Key": "one"}
    first, second = (client.post(PATH, json={"model": "verses"}, headers=once) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert len(client.get(PATH, headers=headers).json()["data"]) == 1


def test_every_process_serves_every_session(
    client: TestClient, make_app: MakeApp, headers: Headers
) -> None:
    """sessions-23: one that was started again answers the same, and the last step again."""
    path = create(client, headers)
    body = {"text": "the quick ", "max_new_tokens": 10, "temperature": 2.0}
    first = step(client, headers, path, seq=1, **body)
    with TestClient(make_app(), base_url="http://localhost") as other:
        assert step(other, headers, path, seq=1, **body) == first
        assert step(other, headers, path, seq=2, text="x")["seq"] == 2
    assert step(client, headers, path, seq=3, text="y")["seq"] == 3


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sessions that are read from Redis for a step."""
    found = []
    hold = SessionStore.hold

    async def noted(self: SessionStore, workspace_id: UUID, session_id: str) -> Held:
        found.append(session_id)
        return await hold(self, workspace_id, session_id)

    monkeypatch.setattr(SessionStore, "hold", noted)
    return found


def test_a_numbered_step_asks_redis_only_where_the_session_went_on_elsewhere(
    client: TestClient, make_app: MakeApp, headers: Headers, reads: list[str]
) -> None:
    path, alone = create(client, headers, seed=3), create(client, headers, seed=3)
    drawing = {"max_new_tokens": 5, "temperature": 2.0}

    def both(taker: TestClient, seq: int, *, read: bool) -> None:
        reads.clear()
        moved = step(taker, headers, path, seq=seq, **drawing)["result"]
        assert bool(reads) == read
        assert moved == step(client, headers, alone, seq=seq, **drawing)["result"]

    with TestClient(make_app(), base_url="http://localhost") as other:
        both(client, 1, read=True)
        both(client, 2, read=False)
        both(other, 3, read=True)
        both(other, 4, read=False)
        client.post(f"{path}/snapshot", headers=headers)
        both(client, 5, read=True)
        both(client, 6, read=False)
        other.post(f"{path}/restore", json={"snapshot": 1}, headers=headers)
        reads.clear()
        again = step(client, headers, path, seq=7, **drawing)["result"]
    assert len(reads) == 1  # what was remembered was tried first
    assert again["tokens"] == 26  # with the line break that an empty text is


def test_what_is_remembered_is_bounded(
    make_app: MakeApp, headers: Headers, reads: list[str]
) -> None:
    with TestClient(make_app(recent_session_bytes=0), base_url="http://localhost") as client:
        path = create(client, headers)
        for seq in (1, 2, 3):
            step(client, headers, path, seq=seq, text="a")
    assert len(reads) == 3


def test_a_lost_redis_is_a_lost_session_and_no_other(
    client: TestClient, headers: Headers, settings: Settings
) -> None:
    """sessions-24."""
    path, remembered = create(client, headers), create(client, headers)
    step(client, headers, remembered, seq=1, text="a")
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as server:
        server.flushall()
    for response in (
        client.post(f"{path}/steps", json={"text": "a"}, headers=headers),
        client.get(path, headers=headers),
        client.post(f"{path}/fork", headers=headers),
        client.post(f"{path}/snapshot", headers=headers),
        client.post(f"{remembered}/steps", json={"seq": 2, "text": "a"}, headers=headers),
    ):
        assert (response.status_code, problem(response)) == (410, "gone")
    assert step(client, headers, create(client, headers), text="a")["seq"] == 1


@pytest.fixture
def second_version(
    trained: Mapping[str, Path],
    tmp_path: Path,
    database: Database,
    settings: Settings,
    workspace: Workspace,
) -> Callable[[str], None]:
    """Publishes a version of other weights under a name."""

    def publish_other(name: str) -> None:
        task = {"verses": GENERATION, "demand": FORECASTING, "reviews": CLASSIFICATION}[name]
        content = read(trained[task], "model")
        tensors = {key: 0.9 * tensor for key, tensor in content.tensors.items()}
        write(tmp_path / "other", replace(content, tensors=tensors))
        store = ArtifactStore(settings.artifact_dir)
        publish(database, store, workspace.id, name, task, tmp_path / "other")

    return publish_other


@pytest.mark.parametrize(
    ("model", "steps", "last"),
    [
        (
            "verses",
            [{"text": "the qu"}, {"text": "ick "}, {"max_new_tokens": 6, "stop": ["n"]}],
            {"top": 5},
        ),
        (
            "demand",
            [{"values": [1.0, None, 3.0]}, {"horizon": 1}, {"values": [2.0]}],
            {"horizon": 3},
        ),
        ("reviews", [{"text": "a love"}, {"text": "ly film"}], {"text": ".", "all_scores": True}),
    ],
)
def test_a_session_moves_to_another_version(
    client: TestClient,
    headers: Headers,
    second_version: Callable[[str], None],
    model: str,
    steps: list[dict[str, Any]],
    last: dict[str, Any],
) -> None:
    """The other version goes on as if it had been there from the beginning."""
    path = create(client, headers, model, migratable=True)
    answers = [step(client, headers, path, **body) for body in steps]
    second_version(model)
    await_version(client, headers, model, 2)
    moved = client.post(f"{path}/migrate", json={}, headers=headers)
    assert moved.status_code == 200, moved.text
    assert moved.json()["model"] == {"name": model, "version": 2}
    again = step(client, headers, path, seq=len(steps), **steps[-1])
    assert again["model"] == {"name": model, "version": 1}
    assert again["result"] == answers[-1]["result"]
    text = "".join(
        body.get("text", "") + (answer["result"].get("text") or "")
        for body, answer in zip(steps, answers, strict=True)
    )
    if answers[-1]["result"].get("finish_reason") == "stop":
        text += "n"
    fresh = create(client, headers, model)
    given = {"text": text} if model != "demand" else {"values": [1.0, None, 3.0, 2.0]}
    step(client, headers, fresh, **given)
    found, expected = (step(client, headers, place, **last) for place in (path, fresh))
    assert found["result"] == expected["result"]
    assert found["model"] == expected["model"]
    back = client.post(f"{path}/migrate", json={"model": f"{model}:1"}, headers=headers)
    assert back.json()["model"]["version"] == 1


def test_a_session_that_cannot_move_says_why(make_app: MakeApp, headers: Headers) -> None:
    with TestClient(make_app(max_session_input_bytes=64), base_url="http://localhost") as client:

        def refused(path: str, status: int, kind: str, says: str, **body: Any) -> None:
            response = client.post(f"{path}/migrate", json=body, headers=headers)
            assert (response.status_code, problem(response)) == (status, kind)
            assert says in response.json()["detail"]

        refused(create(client, headers), 409, "conflict", "not made migratable")
        path = create(client, headers, migratable=True)
        assert client.post(f"{path}/migrate", json={}, headers=headers).status_code == 200
        refused(path, 404, "not-found", "version 7", model="verses:7")
        refused(path, 422, "validation-error", "not a version of 'verses'", model="reviews")
        client.post(f"{path}/snapshot", headers=headers)
        fork = client.post(f"{path}/fork", headers=headers).headers["location"]
        refused(fork, 409, "conflict", "not made migratable")
        step(client, headers, path, text="a" * 99)
        step(client, headers, path, text="a")
        refused(path, 409, "conflict", "64 bytes")
        path = create(client, headers, migratable=True)
        client.post(f"{path}/snapshot", headers=headers)
        client.post(f"{path}/restore", json={"snapshot": 1}, headers=headers)
        refused(path, 409, "conflict", "restored")
