"""POST /api/v1/forecasts on a tiny trained network."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.artifacts.store import ArtifactStore
from service.auth.subjects import Scope
from service.db.engine import Database
from service.db.tables import Dataset, Job, Workspace
from service.jobs.states import JobState
from service.settings import Settings
from tests.api.bad_rows import Row, check_rows
from tests.api.conftest import MakeKey, bearer, problem
from tests.serving import FORECASTING, publish

PATH = "/api/v1/forecasts"
GOLDEN = Path(__file__).parents[1] / "golden"
WAVE = [10 + math.sin(2 * math.pi * t / 12) for t in range(48)]
GOOD: dict[str, Any] = {"model": "demand", "series": [WAVE], "horizon": 6}

pytestmark = pytest.mark.usefixtures("models")


def ask(client: TestClient, headers: dict[str, str], **change: Any) -> Any:
    response = client.post(PATH, json={**GOOD, **change}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_answer(client: TestClient, headers: dict[str, str]) -> None:
    answer = ask(client, headers)
    assert answer["model"] == {"name": "demand", "version": 1}
    assert answer["horizon"] == 6
    (forecast,) = answer["forecasts"]
    assert len(forecast["mean"]) == 6
    assert list(forecast["quantiles"]) == ["0.1", "0.5", "0.9"]
    for low, middle, high in zip(*forecast["quantiles"].values(), strict=True):
        assert low <= middle <= high
    for value, expected in zip(forecast["mean"], WAVE[:6], strict=True):
        assert value == pytest.approx(expected, abs=0.5)


def test_no_horizon_is_the_trained_one(client: TestClient, headers: dict[str, str]) -> None:
    assert ask(client, headers, horizon=None)["horizon"] == 12


def test_a_flat_list_is_one_series(client: TestClient, headers: dict[str, str]) -> None:
    assert ask(client, headers, series=WAVE) == ask(client, headers)


def test_many_series_equal_each_alone(client: TestClient, headers: dict[str, str]) -> None:
    # More than are run together, of different lengths and heights.
    series = [[value + i for value in WAVE[: 20 + i % 28]] for i in range(150)]
    together = ask(client, headers, series=series)["forecasts"]
    assert len(together) == 150
    for i in (0, 63, 64, 149):
        (alone,) = ask(client, headers, series=[series[i]])["forecasts"]
        assert together[i]["mean"] == pytest.approx(alone["mean"], abs=1e-4)


def test_a_missing_value_is_allowed(client: TestClient, headers: dict[str, str]) -> None:
    """forecast-09."""
    answer = ask(client, headers, series=[None, *WAVE[1:20], None, *WAVE[21:]])
    assert all(map(math.isfinite, answer["forecasts"][0]["mean"]))


def test_quantiles_are_those_asked_for(client: TestClient, headers: dict[str, str]) -> None:
    answer = ask(client, headers, quantiles=[0.25, 0.95])
    assert list(answer["forecasts"][0]["quantiles"]) == ["0.25", "0.95"]
    assert ask(client, headers, quantiles=[])["forecasts"][0]["quantiles"] == {}


def test_sample_paths(client: TestClient, headers: dict[str, str]) -> None:
    """Of each series by itself: series i has the seed + i."""
    both = ask(client, headers, series=[WAVE, WAVE], num_samples=100, seed=3)["forecasts"]
    for forecast in both:
        samples = forecast.pop("samples")
        assert [len(path) for path in samples] == [6] * 100
        for step, low, _, high in zip(range(6), *forecast["quantiles"].values(), strict=True):
            assert 9 <= sum(path[step] < low for path in samples) <= 11
            assert 9 <= sum(path[step] > high for path in samples) <= 11
    assert both == ask(client, headers, series=[WAVE, WAVE])["forecasts"]


def test_a_seed_draws_the_same_paths_and_none_draws_others(
    client: TestClient, headers: dict[str, str]
) -> None:
    def paths(**choice: Any) -> list[Any]:
        found = ask(client, headers, num_samples=3, **choice)["forecasts"]
        return [forecast["samples"] for forecast in found]

    assert paths(series=[WAVE, WAVE], seed=8) == [*paths(seed=8), *paths(seed=9)]
    assert paths(seed=8) != paths(seed=9)
    assert paths() != paths(seed=None)
    assert len(paths(seed=2**53 - 1)[0]) == 3


def test_without_sample_paths_the_answer_has_no_word_of_them(
    client: TestClient, headers: dict[str, str]
) -> None:
    plain = client.post(PATH, json=GOOD, headers=headers)
    none = client.post(PATH, json={**GOOD, "num_samples": 0, "seed": 5}, headers=headers)
    assert b"samples" not in plain.content
    assert plain.content == none.content


INVALID = (422, "validation-error")
ROWS = [
    Row("forecast-01", *INVALID, {"series": []}, location="body.series"),
    Row("forecast-01 one", *INVALID, {"series": [[]]}, location="body.series.0"),
    Row("forecast-01 null", *INVALID, {"series": [WAVE, [None] * 9]}, location="body.series.1"),
    Row("forecast-02", *INVALID, {"series": [WAVE, [1.0] * 100_001]}, location="body.series.1"),
    Row("forecast-02 many", *INVALID, {"series": [[1]] * 10_001}, location="body.series"),
    Row("forecast-02 all", *INVALID, {"series": [[1] * 100_000] * 21}, location="body.series"),
    Row("forecast-04", 400, "malformed-json", raw=b'{"model":"demand","series":[[1,NaN]]}'),
    Row("forecast-04 inf", 400, "malformed-json", raw=b'{"model":"demand","series":[[-Infinity]]}'),
    Row(
        "forecast-05",
        *INVALID,
        raw=b'{"model":"demand","series":[[1,1e999],[-1e999]]}',
        location="body.series.0.1",
    ),
    Row("forecast-05 too large", 422, "model-input-mismatch", {"series": [1e308, -1e308] * 24}),
    Row("forecast-10", *INVALID, {"series": [1, [2, 3]]}, location="body.series.1"),
    Row("forecast-10 first", *INVALID, {"series": [[1], 2]}, location="body.series.1"),
    Row("forecast-10 ragged", *INVALID, {"series": [[[1, 2], [3]]]}, location="body.series.0.0"),
    Row("forecast-12", *INVALID, {"series": [["1.0"]]}, location="body.series.0.0"),
    Row("forecast-12 bool", *INVALID, {"series": [1, True]}, location="body.series.1"),
    Row("forecast-12 date", *INVALID, {"series": ["2024-01-01"]}, location="body.series.0"),
    Row("forecast-12 object", *INVALID, {"series": {"y": [1]}}, location="body.series"),
    Row("forecast-13 0", *INVALID, {"horizon": 0}, location="body.horizon"),
    Row("forecast-13 -1", *INVALID, {"horizon": -1}, location="body.horizon"),
    Row("forecast-13 1.5", *INVALID, {"horizon": 1.5}, location="body.horizon"),
    Row("forecast-13 10^9", *INVALID, {"horizon": 10**9}, location="body.horizon"),
    Row("forecast-13 trained", 422, "model-input-mismatch", {"horizon": 13}),
    Row("forecast-15 0", *INVALID, {"quantiles": [0]}, location="body.quantiles.0"),
    Row("forecast-15 1", *INVALID, {"quantiles": [0.5, 1]}, location="body.quantiles.1"),
    Row("forecast-15 1.1", *INVALID, {"quantiles": [1.1]}, location="body.quantiles.0"),
    Row("forecast-15 unsorted", *INVALID, {"quantiles": [0.9, 0.1]}, location="body.quantiles"),
    Row("forecast-15 twice", *INVALID, {"quantiles": [0.5, 0.5]}, location="body.quantiles"),
    Row("forecast-15 many", *INVALID, {"quantiles": [i / 10_001 for i in range(1, 10_001)]}),
    Row("forecast-15 trained", 422, "model-input-mismatch", {"quantiles": [0.001]}),
    Row("samples -1", *INVALID, {"num_samples": -1}, location="body.num_samples"),
    Row("samples 1.5", *INVALID, {"num_samples": 1.5}, location="body.num_samples"),
    Row("samples text", *INVALID, {"num_samples": "9"}, location="body.num_samples"),
    Row("samples null", *INVALID, {"num_samples": None}, location="body.num_samples"),
    Row("samples 1001", *INVALID, {"num_samples": 1_001}, location="body.num_samples"),
    Row("samples 10^30", *INVALID, {"num_samples": 10**30}, location="body.num_samples"),
    Row("samples in all", *INVALID, {"num_samples": 1_000, "series": [[1]] * 400}),
    Row("seed -1", *INVALID, {"seed": -1, "num_samples": 1}, location="body.seed"),
    Row("seed 2^53", *INVALID, {"seed": 2**53, "num_samples": 1}, location="body.seed"),
    Row("seed 0.5", *INVALID, {"seed": 0.5, "num_samples": 1}, location="body.seed"),
    Row("forecast-16", 404, "not-found", {"model": "unknown"}),
    Row("forecast-16 version", 404, "not-found", {"model": "demand:2"}),
    Row("forecast-16 alias", 404, "not-found", {"model": "demand@canary"}),
    Row("forecast-17", 409, "model-task-mismatch", {"model": "reviews"}),
    Row("forecast-22", *INVALID, {"start": 10**20}, location="body.start"),
    Row("forecast-23", *INVALID, {"freq": "1ns"}, location="body.freq"),
    Row("forecast-24", 400, "malformed-json", raw=b"[" * 100_000),
    Row("forecast-25", 400, "malformed-json", raw=b'{"horizon":' + b"9" * 5_000 + b"}"),
    Row("forecast-26", *INVALID, {"chat_template_kwargs": {}}),
    Row("forecast-27", 413, "body-too-large", raw=b" " * (8 * 2**20 + 1)),
    Row("forecast-28", 406, "not-acceptable", headers={"Accept": "text/html"}),
    Row("forecast-29 none", 401, "unauthenticated", headers={"Authorization": None}),
    Row("forecast-29 bad", 401, "unauthenticated", headers={"Authorization": "Bearer rp_x_y_z"}),
    Row("forecast-31 TRACE", 405, "method-not-allowed", method="TRACE"),
    Row("forecast-31 PATCH", 405, "method-not-allowed", method="PATCH"),
    Row("forecast-35", 400, "bad-host", headers={"Host": "evil.example"}),
    Row("forecast-38", 431, "headers-too-large", headers={"X-Long": "x" * 100 * 2**10}),
    Row("no series", *INVALID, {"series": ...}, location="body.series"),
    Row("no model", *INVALID, {"model": ...}, location="body.model"),
    Row("a path as a model", *INVALID, {"model": "../../x"}, location="body.model"),
    Row("a body of another kind", *INVALID, raw=b"[]"),
    Row("no body", *INVALID, raw=b""),
    Row("another type", 415, "unsupported-media-type", headers={"Content-Type": "text/plain"}),
]


def test_bad_inputs(client: TestClient, headers: dict[str, str]) -> None:
    """forecast-40 too: the same good request after every row."""
    check_rows(client, PATH, headers, GOOD, ROWS)


def test_keys_and_workspaces(client: TestClient, make_key: MakeKey, key: str) -> None:
    """forecast-16, forecast-29 and forecast-30, where they need keys of their own."""
    stranger = client.post(PATH, json=GOOD, headers=bearer(make_key(workspace_name="other")))
    assert (stranger.status_code, problem(stranger)) == (404, "not-found")
    powerless = client.post(PATH, json=GOOD, headers=bearer(make_key([Scope.MODELS_READ])))
    assert (powerless.status_code, problem(powerless)) == (403, "forbidden")
    in_query = client.post(f"{PATH}?api_key={key}", json=GOOD)
    assert (in_query.status_code, problem(in_query)) == (401, "unauthenticated")


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.FAILED])
def test_a_model_that_only_a_job_knows_is_not_ready(
    client: TestClient,
    headers: dict[str, str],
    database: Database,
    workspace: Workspace,
    state: JobState,
) -> None:
    """forecast-18."""
    with database.transaction() as db:
        dataset = db.query(Dataset).first()
        assert dataset is not None
        db.add(
            Job(
                workspace_id=workspace.id,
                task="time-series-forecasting",
                dataset_id=dataset.id,
                model_name="soon",
                config={},
                device="cpu",
                queue="cpu",
                state=state,
            )
        )
    response = client.post(PATH, json={**GOOD, "model": "soon"}, headers=headers)
    assert (response.status_code, problem(response)) == (409, "model-not-ready")


def test_a_deleted_model_is_not_found(client: TestClient, headers: dict[str, str]) -> None:
    """forecast-16."""
    ask(client, headers)
    assert client.delete("/api/v1/models/demand", headers=headers).status_code == 204
    response = client.post(PATH, json=GOOD, headers=headers)
    assert (response.status_code, problem(response)) == (404, "not-found")


def test_an_answer_has_a_largest_size(settings: Settings, headers: dict[str, str]) -> None:
    small = settings.model_copy(update={"max_forecast_values": 47})
    with TestClient(create_app(small), base_url="http://localhost") as client:
        assert ask(client, headers, horizon=11)  # 1 series x 11 x (3 + 1)
        response = client.post(PATH, json={**GOOD, "horizon": 12}, headers=headers)
        assert (response.status_code, problem(response)) == (422, "validation-error")
        sampled = client.post(PATH, json={**GOOD, "num_samples": 4}, headers=headers)
        assert (sampled.status_code, problem(sampled)) == (422, "validation-error")


def test_a_version_from_before_sample_paths_says_so(
    client: TestClient,
    headers: dict[str, str],
    database: Database,
    settings: Settings,
    workspace: Workspace,
) -> None:
    publish(
        database,
        ArtifactStore(settings.artifact_dir),
        workspace.id,
        "old",
        FORECASTING,
        GOLDEN / "forecasting" / "model",
    )
    old = {**GOOD, "model": "old", "horizon": 1}
    assert client.post(PATH, json=old, headers=headers).status_code == 200
    response = client.post(PATH, json={**old, "num_samples": 1}, headers=headers)
    assert (response.status_code, problem(response)) == (422, "model-input-mismatch")
    assert [error["location"] for error in response.json()["errors"]] == ["body.num_samples"]


def test_over_capacity(settings: Settings, headers: dict[str, str]) -> None:
    """forecast-34."""
    series = [[value + i for value in WAVE] for i in range(500)]
    few = settings.model_copy(update={"max_concurrent_predictions": 8})
    with TestClient(create_app(few), base_url="http://localhost") as client:
        expected = ask(client, headers, series=series)
        body = json.dumps({**GOOD, "series": series})
        sent = {**headers, "Content-Type": "application/json"}
        with ThreadPoolExecutor(64) as pool:
            responses = list(
                pool.map(lambda _: client.post(PATH, content=body, headers=sent), range(64))
            )
        refused = [response for response in responses if response.status_code != 200]
        assert 0 < len(refused) < 64
        for response in refused:
            assert (response.status_code, problem(response)) == (429, "overloaded")
            assert int(response.headers["Retry-After"]) >= 1
        assert all(r.json() == expected for r in responses if r.status_code == 200)
        assert ask(client, headers, series=series) == expected
