"""POST /api/v1/forecasts for a model that reads what is known beside the series."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from rnn.config import ForecastingConfig
from rnn.config.forecasting import StaticColumn
from rnn.data.examples import SeriesExamples
from rnn.events import Finished
from rnn.resolve import resolve
from rnn.train import train
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Workspace
from service.settings import Settings
from tests.api.bad_rows import Row, check_rows
from tests.serving import FORECASTING, Unhurried, publish

PATH = "/api/v1/forecasts"
START = "2024-01-01T00:00:00"
GOOD: dict[str, Any] = {
    "model": "shops",
    "series": [[float(t % 7) for t in range(20)], [float(t % 7) for t in range(12)]],
    "horizon": 3,
    "past_covariates": [{"visitors": [1] * 20}, {"visitors": [2, None] * 6}],
    "future_covariates": [{"holiday": [0, 1] * 11 + [0]}, {"holiday": [0] * 15}],
    "static_covariates": [{"region": "north"}, {"region": None}],
    "start": [START, "2024-01-09"],
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network that reads every kind of covariate, and the calendar."""
    config = ForecastingConfig.model_validate(
        {
            "task": FORECASTING,
            "architecture": {"hidden_size": 4, "num_layers": 1},
            "training": {"max_steps": 3, "batch_size": 4},
            "data": {
                "horizon": 4,
                "context_length": 8,
                "past_covariates": ["visitors"],
                "future_covariates": ["holiday"],
                "static_covariates": ["region"],
                "static_columns": [StaticColumn(column="region", words=["north", "south"])],
                "frequency": "1d",
                "calendar": True,
            },
        }
    )
    random = np.random.default_rng(0)
    values = [random.normal(size=40) for _ in range(2)]
    beside = [random.normal(size=(40, 1)) for _ in range(2)]
    examples = SeriesExamples(
        ["a", "b"],
        values,
        [datetime(2024, 1, 1, tzinfo=UTC)] * 2,
        "1d",
        beside,
        beside,
        np.array([[0.0], [1.0]]),
    )
    lengths = dict.fromkeys(("min_length", "median_length", "max_length"), 40)
    profile = {"series": {"series": 2, "points": 80, "season_length": 7, "dates": True, **lengths}}
    folder = tmp_path_factory.mktemp("covariates") / "model"
    resolved = resolve(config, profile)
    for event in train(resolved, examples, device="cpu", control=Unhurried(), resume=None):
        if isinstance(event, Finished):
            event.save(folder)
    return folder


@pytest.fixture(autouse=True)
def shops(network: Path, database: Database, settings: Settings, workspace: Workspace) -> None:
    artifacts = ArtifactStore(settings.artifact_dir)
    publish(database, artifacts, workspace.id, "shops", FORECASTING, network)


def ask(client: TestClient, headers: dict[str, str], **change: Any) -> Any:
    response = client.post(PATH, json={**GOOD, **change}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()["forecasts"]


def test_series_with_all_that_the_model_reads(client: TestClient, headers: dict[str, str]) -> None:
    answers = ask(client, headers)
    assert [len(answer["mean"]) for answer in answers] == [3, 3]


def test_one_series_may_stand_alone(client: TestClient, headers: dict[str, str]) -> None:
    alone = {name: GOOD[name][0] for name in GOOD if isinstance(GOOD[name], list)}
    (answer,) = ask(client, headers, **alone)
    assert answer["mean"] == pytest.approx(ask(client, headers)[0]["mean"], abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"past_covariates": [{"visitors": list(range(20))}, GOOD["past_covariates"][1]]},
        {"future_covariates": [{"holiday": [0] * 20 + [1, 0, 1]}, GOOD["future_covariates"][1]]},
        {"static_covariates": [{"region": "south"}, {"region": None}]},
        {"start": ["2024-01-03", "2024-01-09"]},
    ],
)
def test_each_of_them_tells_in_the_answer_of_its_series(
    client: TestClient, headers: dict[str, str], change: dict[str, Any]
) -> None:
    before, after = ask(client, headers), ask(client, headers, **change)
    assert before[0]["mean"] != after[0]["mean"]
    assert before[1]["mean"] == after[1]["mean"]


def test_a_time_with_an_offset_is_the_same_in_utc(
    client: TestClient, headers: dict[str, str]
) -> None:
    moved = ask(client, headers, start=["2024-01-01T02:00:00+02:00", "2024-01-09T00:00:00Z"])
    assert moved == ask(client, headers)


@pytest.mark.parametrize(
    ("first", "written"),
    [
        ("2024-01-01", "2024-01"),
        ("2024-01-29", "2024/01/29"),
        ("2024-01-29", "2024/1/29"),
        ("2024-01-29", "29.01.2024"),
        ("2024-01-29T13:30:00", "29.1.2024 13:30"),
        ("2024-01-29T13:30:00", "2024/01/29 13:30:00"),
    ],
)
def test_a_time_may_be_written_as_in_a_data_set(
    client: TestClient, headers: dict[str, str], first: str, written: str
) -> None:
    wanted = ask(client, headers, start=[first, START])
    assert ask(client, headers, start=[written, START]) == wanted


def test_one_start_is_that_of_all_series(client: TestClient, headers: dict[str, str]) -> None:
    assert ask(client, headers, start=START) == ask(client, headers, start=[START, START])


def test_a_word_that_was_not_there_in_training_is_missing(
    client: TestClient, headers: dict[str, str]
) -> None:
    unknown = ask(client, headers, static_covariates=[{"region": "moon"}, {"region": None}])
    missing = ask(client, headers, static_covariates=[{"region": None}] * 2)
    assert unknown == missing


INVALID = (422, "validation-error")
MISMATCH = (422, "model-input-mismatch")
PAST, FUTURE = GOOD["past_covariates"], GOOD["future_covariates"]
ROWS = [
    Row(
        "forecast-11 no past",
        *MISMATCH,
        {"past_covariates": ...},
        location="body.past_covariates.0.visitors",
    ),
    Row(
        "forecast-11 no future",
        *MISMATCH,
        {"future_covariates": None},
        location="body.future_covariates.0.holiday",
    ),
    Row(
        "forecast-11 one static",
        *MISMATCH,
        {"static_covariates": [{"region": "north"}, {}]},
        location="body.static_covariates.1.region",
    ),
    Row("no start", *MISMATCH, {"start": ...}, location="body.start.0"),
    Row(
        "forecast-11 unknown name",
        *MISMATCH,
        {"past_covariates": [{**PAST[0], "rain": [1] * 20}, PAST[1]]},
        location="body.past_covariates.0.rain",
    ),
    Row(
        "too short",
        *MISMATCH,
        {"past_covariates": [PAST[0], {"visitors": [1] * 11}]},
        location="body.past_covariates.1.visitors",
    ),
    Row(
        "no horizon",
        *MISMATCH,
        {"future_covariates": [{"holiday": [0] * 20}, FUTURE[1]]},
        location="body.future_covariates.0.holiday",
    ),
    Row("another horizon", *MISMATCH, {"horizon": 4}, location="body.future_covariates.0.holiday"),
    Row("not of each", *INVALID, {"past_covariates": PAST[:1]}, location="body.past_covariates"),
    Row("no starts", *INVALID, {"start": []}, location="body.start"),
    Row("too many starts", *INVALID, {"start": [START] * 3}, location="body.start"),
    Row(
        "text for a number",
        *INVALID,
        {"past_covariates": [{"visitors": [1, "2"]}, PAST[1]]},
        location="body.past_covariates.0.visitors.1",
    ),
    Row(
        "text for a number, alone",
        *INVALID,
        {"past_covariates": {"visitors": [1, "2"]}},
        location="body.past_covariates.visitors.1",
    ),
    Row(
        "not finite",
        *INVALID,
        raw=b'{"model":"shops","series":[1],"future_covariates":{"holiday":[1e999]}}',
        location="body.future_covariates.holiday.0",
    ),
    Row("empty", *INVALID, {"past_covariates": []}, location="body.past_covariates"),
    Row("a number for a time", *INVALID, {"start": [1704067200, START]}, location="body.start.0"),
    Row("no time", *INVALID, {"start": ["now", START]}, location="body.start.0"),
    Row("a day of no month", *INVALID, {"start": ["30.02.2024"] * 2}, location="body.start.0"),
    Row("month or day", *INVALID, {"start": ["01/02/2024", START]}, location="body.start.0"),
    Row(
        "before all times",
        *INVALID,
        {"start": ["0001-01-01T00:00:00+14:00", START]},
        location="body.start.0",
    ),
    Row(
        "too large",
        *INVALID,
        {"past_covariates": [{f"v{i}": [1] * 100_000 for i in range(21)}, PAST[1]]},
        location="body.series",
    ),
]


def test_bad_covariates(client: TestClient, headers: dict[str, str]) -> None:
    check_rows(client, PATH, headers, GOOD, ROWS)


@pytest.mark.usefixtures("models")
def test_a_model_that_reads_none_takes_none(client: TestClient, headers: dict[str, str]) -> None:
    body = {"model": "demand", "series": [1, 2, 3], "past_covariates": {"rain": [1, 2, 3]}}
    response = client.post(PATH, json=body, headers=headers)
    assert response.status_code == 422
    assert "'rain' is none of the model's past_covariates: none" in response.json()["detail"]
