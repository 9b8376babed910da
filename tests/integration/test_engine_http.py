"""The engine behind a real server: clients that hang up, storms, and a second API process."""

import asyncio
import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from websockets.sync.client import ClientConnection, connect

from service.api.session_stream import MESSAGES_AHEAD
from service.app import create_app
from service.artifacts.store import ArtifactStore
from service.auth.store import create_key, ensure_workspace
from service.auth.subjects import ALL_SCOPES
from service.db.engine import Database
from service.inference import live_texts
from service.inference.batcher import Batcher
from service.inference.decode import Decoder
from service.serve import configuration
from service.settings import Settings
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION, publish

LONG: dict[str, Any] = {
    "model": "verses",
    "prompt": "the ",
    "max_new_tokens": 8_000,
    "temperature": 0.5,
}


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[str, FastAPI]]:
    """The address of the application, served by uvicorn on a port of the kernel's choice."""
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = configuration(app, settings)
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1", app
        finally:
            server.should_exit = True
            thread.join()


def until(true: Callable[[], bool], seconds: float = 20) -> float:
    """Waits; returns for how long."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, "waited in vain"
        time.sleep(0.001)
    return time.monotonic() - started


@pytest.fixture
def key(database: Database, settings: Settings, trained: Mapping[str, Path]) -> str:
    """A key of a workspace with a network of each task."""
    with database.transaction() as db:
        workspace = ensure_workspace(db, "default")
        _, key = create_key(db, workspace.id, "test", ALL_SCOPES)
    artifacts = ArtifactStore(settings.artifact_dir)
    for name, task in (("demand", FORECASTING), ("reviews", CLASSIFICATION)):
        publish(database, artifacts, workspace.id, name, task, trained[task])
    for _ in range(2):
        publish(database, artifacts, workspace.id, "verses", GENERATION, trained[GENERATION])
    return key


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of 8,000 tokens takes more than 16 s: it does not end by itself while a test looks."""
    step = Decoder._step

    def slow(self: Decoder, batch: Any) -> None:
        time.sleep(0.002)
        step(self, batch)

    monkeypatch.setattr(Decoder, "_step", slow)


def begin_session(client: httpx.Client, url: str) -> str:
    """The address of a session of the network that writes."""
    answer = client.post(f"{url}/sessions", json={"model": "verses"})
    return f"{url}/sessions/{answer.json()['id']}"


def socket_of(session: str, key: str) -> ClientConnection:
    url = session.replace("http://", "ws://")
    return connect(f"{url}/stream", additional_headers=headers(key))


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.usefixtures("slow_steps")
def test_a_stream_that_is_left_frees_its_rows(settings: Settings, key: str) -> None:
    with (
        serving(settings) as (url, app),
        httpx.Client(headers=headers(key)) as client,
    ):
        engine = app.state.services.engine
        body = {**LONG, "stream": True, "n": 4}
        with client.stream("POST", f"{url}/generations", json=body) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            assert next(lines) == "event: token"
            assert engine.decode_rows == 4
        assert until(lambda: engine.decode_rows == 0) < 1


@pytest.mark.usefixtures("slow_steps")
def test_a_client_that_hangs_up_before_the_answer_frees_its_rows(
    settings: Settings, key: str
) -> None:
    with serving(settings) as (url, app):
        engine = app.state.services.engine
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/generations", json=LONG, headers=headers(key), timeout=0.5)
        assert until(lambda: engine.decode_rows == 0) < 1
        assert engine._in_flight == 0


@pytest.fixture
def slow_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of 64 rows, or 16 tokens of a session's text, take 0.1 s each."""
    turn, go_on = Batcher.turn, live_texts._Drawn.go_on

    def slow_turn(self: Batcher[Any]) -> Any:
        time.sleep(0.1)
        return turn(self)

    def slow_piece(self: live_texts._Drawn, tokens: int) -> None:
        time.sleep(0.1)
        go_on(self, tokens)

    monkeypatch.setattr(Batcher, "turn", slow_turn)
    monkeypatch.setattr(live_texts._Drawn, "go_on", slow_piece)


@pytest.mark.usefixtures("slow_turns")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("{url}/sentiment", {"model": "reviews", "texts": ["good"] * 6_400}),
        ("{url}/forecasts", {"model": "demand", "series": [[1.0, 2.0, 3.0]] * 6_400}),
        ("{session}/steps", {"text": "the ", "max_new_tokens": 8_000}),
    ],
)
def test_nothing_is_computed_for_a_client_that_has_left(
    settings: Settings, key: str, path: str, body: dict[str, Any]
) -> None:
    """A hundred batches of rows, or five hundred pieces of a text."""
    with (
        serving(settings) as (url, app),
        httpx.Client(headers=headers(key), timeout=30) as client,
    ):
        session = begin_session(client, url)
        with pytest.raises(httpx.ReadTimeout):
            client.post(path.format(url=url, session=session), json=body, timeout=1)
        assert until(lambda: app.state.services.engine._in_flight == 0) < 1
        assert client.get(session).json()["seq"] == 0
        body = {"model": "reviews", "text": "good"}
        began = time.monotonic()
        client.post(f"{url}/sentiment", json=body).raise_for_status()
        assert time.monotonic() - began < 2  # the engine has dropped it, too


@pytest.mark.usefixtures("slow_turns")
@pytest.mark.parametrize("waiting", [0, 3])
def test_nothing_is_computed_for_a_socket_that_has_closed(
    settings: Settings, key: str, waiting: int
) -> None:
    """The step went on for minutes and was committed, with or without messages behind it."""
    with (
        serving(settings) as (url, app),
        httpx.Client(headers=headers(key), timeout=30) as client,
    ):
        session = begin_session(client, url)
        engine = app.state.services.engine
        with socket_of(session, key) as stream:
            stream.recv()
            stream.send(json.dumps({"seq": 1, "text": "the "}))
            assert json.loads(stream.recv())["seq"] == 1
            stream.send(json.dumps({"seq": 2, "text": "quick ", "max_new_tokens": 8_000}))
            for _ in range(waiting):
                stream.send(json.dumps({"text": "fox "}))
            until(lambda: engine.in_flight == 1)
        assert until(lambda: engine.in_flight == 0) < 1
        assert client.get(session).json()["seq"] == 1
        began = time.monotonic()
        again = client.post(f"{session}/steps", json={"seq": 2, "text": "quick "}).json()
        assert (again["seq"], again["result"]) == (2, {"tokens": len("the quick ")})
        assert time.monotonic() - began < 2  # the engine has dropped it, too


@pytest.mark.usefixtures("slow_turns")
def test_messages_that_come_during_a_step_are_answered_in_order(
    settings: Settings, key: str
) -> None:
    """More of them than are read ahead."""
    steps = 2 * MESSAGES_AHEAD
    with (
        serving(settings) as (url, _),
        httpx.Client(headers=headers(key), timeout=30) as client,
    ):
        session = begin_session(client, url)
        with socket_of(session, key) as stream:
            stream.recv()
            for number in range(1, steps + 1):
                stream.send(json.dumps({"seq": number, "text": "the ", "max_new_tokens": 1}))
            seen = [json.loads(stream.recv()) for _ in range(steps)]
    assert [answer["seq"] for answer in seen] == list(range(1, steps + 1))
    assert [answer["result"]["tokens"] for answer in seen] == [5 * answer["seq"] for answer in seen]


@pytest.mark.usefixtures("slow_steps")
def test_a_server_that_stops_says_so_in_the_stream(settings: Settings, key: str) -> None:
    """completions-27."""
    body = {**LONG, "stream": True}
    with (
        httpx.Client(headers=headers(key), timeout=20) as client,
        contextlib.ExitStack() as server,
    ):
        url, _ = server.enter_context(serving(settings))
        with client.stream("POST", f"{url}/generations", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            stopping = threading.Thread(target=server.close)
            stopping.start()
            seen = []
            with contextlib.suppress(httpx.RemoteProtocolError):  # cut off, after the last event
                seen.extend(lines)
            stopping.join()
    assert seen[-3] == "event: error"
    assert "urn:reprise:problem:unavailable" in seen[-2]


def test_tokens_come_one_by_one(settings: Settings, key: str) -> None:
    """A stream that is buffered somewhere would come all at once."""
    body = {**LONG, "stream": True, "max_new_tokens": 300}
    with (
        serving(settings) as (url, _),
        httpx.Client(headers=headers(key)) as client,
        client.stream("POST", f"{url}/generations", json=body) as response,
    ):
        first = last = 0.0
        for line in response.iter_lines():
            if line.startswith("event: token"):
                last = time.monotonic()
                first = first or last
        assert last - first > 0.01


def test_every_answer_belongs_to_its_caller_under_a_storm(settings: Settings, key: str) -> None:
    """Texts, forecasts and labels together, a third of the callers hanging up."""
    requests: list[tuple[str, dict[str, Any]]] = []
    for i in range(60):
        requests += [
            ("generations", {**LONG, "max_new_tokens": 20 + i % 30, "seed": i}),
            ("forecasts", {"model": "demand", "series": [[float(i), i + 1.0, i + 2.0] * 8]}),
            ("sentiment", {"model": "reviews", "text": f"a {'lovely' if i % 2 else 'awful'} {i}"}),
        ]
    patient = settings.model_copy(update={"max_concurrent_predictions": 1_000})

    async def ask(client: httpx.AsyncClient, route: str, body: dict[str, Any]) -> Any:
        response = await client.post(route, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def main(url: str) -> None:
        limits = httpx.Limits(max_connections=32)
        async with httpx.AsyncClient(
            base_url=url, headers=headers(key), limits=limits, timeout=60
        ) as client:
            alone = [await ask(client, *request) for request in requests]
            random_source = random.Random(0)
            tasks = []
            for index, request in random_source.sample(list(enumerate(requests)), len(requests)):
                leaves = random_source.random() < 1 / 3
                tasks.append((index, leaves, asyncio.create_task(ask(client, *request))))
            for _, leaves, task in tasks:
                if leaves:
                    await asyncio.sleep(0.002)
                    task.cancel()
            for index, leaves, task in tasks:
                if leaves:
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                else:
                    assert await task == alone[index]

    with serving(patient) as (url, app):
        asyncio.run(main(url))
        until(lambda: app.state.services.engine.decode_rows == 0)
        until(lambda: app.state.services.engine._in_flight == 0)


def test_a_move_through_one_process_is_seen_by_another(settings: Settings, key: str) -> None:
    with (
        serving(settings) as (first, _),
        serving(settings) as (second, _),
        httpx.Client(headers=headers(key)) as client,
    ):

        def answering(url: str) -> int:
            body = {**LONG, "max_new_tokens": 1}
            response = client.post(f"{url}/generations", json=body)
            return int(response.json()["model"]["version"])

        assert answering(first) == answering(second) == 2
        moved = client.put(f"{first}/models/verses/aliases/production", json={"version": 1})
        assert moved.status_code == 200
        assert answering(first) == 1
        assert until(lambda: answering(second) == 1) < 1  # by news, not by age


def test_a_long_classification_does_not_stop_a_stream(settings: Settings, key: str) -> None:
    texts = [f"a lovely film {i}" * 3 for i in range(5_000)]
    with (
        serving(settings) as (url, _),
        httpx.Client(headers=headers(key), timeout=60) as client,
        httpx.Client(headers=headers(key), timeout=60) as other,
    ):
        body = {**LONG, "stream": True}
        done = threading.Event()

        def classify() -> None:
            other.post(f"{url}/sentiment", json={"model": "reviews", "texts": texts})
            done.set()

        with client.stream("POST", f"{url}/generations", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            thread = threading.Thread(target=classify)
            thread.start()
            tokens = sum(
                1 for line in lines if line.startswith("event: token") and not done.is_set()
            )
            thread.join()
        assert tokens >= 5_000 / 64  # a step between each two turns


def test_events_are_whole_json(settings: Settings, key: str) -> None:
    body = {**LONG, "stream": True, "max_new_tokens": 50, "temperature": 20.0}
    with serving(settings) as (url, _):
        response = httpx.post(f"{url}/generations", json=body, headers=headers(key))
        blocks = response.text.strip().split("\n\n")
        for block in blocks:
            assert json.loads(block.split("data: ", 1)[1])
        assert blocks[-1].startswith("event: done")
