"""What `/metrics` says of predictions and sessions."""

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from redis import Redis
from starlette.testclient import TestClient

from service.api.deps import Services
from service.settings import Settings
from tests.api.conftest import MakeApp
from tests.api.test_alarms import Headers, scraped
from tests.api.test_sessions import create, step

pytestmark = pytest.mark.usefixtures("models")

OF_THE_ENGINE = (
    "reprise_requests_running",
    "reprise_requests_waiting",
    "reprise_request_queue_time_seconds_count",
    "reprise_batch_size_count",
    "reprise_model_load_seconds_count",
)


def test_predictions_are_measured(client: TestClient, headers: Headers) -> None:
    def ask(path: str, **body: object) -> None:
        assert client.post(f"/api/v1{path}", headers=headers, json=body).status_code == 200

    for _ in range(2):
        ask("/forecasts", model="demand", series=[[1.0, 2.0, 3.0]] * 3)
    ask("/sentiment", model="reviews", texts=["a warm film", "a cold mess"])
    ask("/sentiment", model="reviews", text="a warm film", attributions=True)
    ask("/generations", model="verses", prompt="the", max_new_tokens=9)
    session = create(client, headers)
    step(client, headers, session, text="the quick")
    client.get(f"{session}/state", headers=headers)
    found = scraped(client, headers)
    counts = {
        "forecast": 2,
        "classification": 2,  # the second one before its attributions
        "attribution": 1,
        "generation": 1,
        "session": 3,  # made, taken on, looked at
    }
    for kind, count in counts.items():
        assert found[f"reprise_request_latency_seconds_count kind={kind}"] == count
        assert 0 < found[f"reprise_request_latency_seconds_sum kind={kind}"] < 60
    assert found["reprise_time_to_first_token_seconds_count"] == 1
    assert found["reprise_inter_token_latency_seconds_count"] <= 9
    assert found["reprise_request_queue_time_seconds_count"] == sum(counts.values())
    assert found["reprise_request_queue_time_seconds_bucket le=+Inf"] == sum(counts.values())
    assert found["reprise_batch_size_bucket le=2.0"] >= 2
    assert (
        found["reprise_batch_size_bucket le=4.0"] >= 2 + found["reprise_batch_size_bucket le=2.0"]
    )
    assert found["reprise_model_load_seconds_count"] == 3
    assert (found["reprise_requests_running"], found["reprise_requests_waiting"]) == (0, 0)


def test_the_states_of_sessions_are_counted(
    client: TestClient, headers: Headers, settings: Settings
) -> None:
    """Those that there are, of what Redis holds of them."""
    paths = [create(client, headers) for _ in range(3)]
    step(client, headers, paths[0], text="the quick")
    client.delete(paths[1], headers=headers)
    with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        (root,) = {key.rpartition(b":")[0] for key in redis.keys("reprise:sessions:*:*")}
        names = [path.rpartition("/")[2].encode() for path in (paths[0], paths[2])]
        sizes = [redis.hstrlen(root + b":" + name, "state") for name in names]
        found = scraped(client, headers)
        assert found["reprise_sessions"] == 2
        assert found["reprise_session_state_bytes"] == sum(sizes) > 0
        redis.zadd(root, {names[0]: 1})  # it has expired, and nobody has come by since
        assert scraped(client, headers)["reprise_session_state_bytes"] == sizes[1]


def test_what_is_away_says_nothing(make_app: MakeApp, headers: Headers) -> None:
    app: FastAPI = make_app(redis_url=SecretStr("redis://127.0.0.1:1/0"))
    services: Services = app.state.services
    with TestClient(app, base_url="http://localhost") as client:
        there = scraped(client, headers)
        assert set(OF_THE_ENGINE) <= there.keys()
        assert not {"reprise_sessions", "reprise_session_state_bytes"} & there.keys()
        assert client.portal is not None
        client.portal.call(services.engine.stop)
        there = scraped(client, headers)
        assert not set(OF_THE_ENGINE) & there.keys()
        assert there["reprise_predictions_in_flight"] == 0
