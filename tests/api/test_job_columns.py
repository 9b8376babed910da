"""Jobs that name the columns of a table of many numbers: targets, covariates, the calendar."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import problem
from tests.api.job_requests import FORECASTING, submit, upload

TABLE = "date,oil,gas,holiday,town,odd\n" + "".join(
    f"2024-{1 + day // 28:02}-{1 + day % 28:02},{day % 7},{day % 5},{int(day % 9 == 0)},delft,"
    f"{day if day % 2 else 'none'}\n"
    for day in range(112)
)
COVARIATES = {"target_column": "oil", "future_covariates": ["holiday"]}


@pytest.fixture
def table(client: TestClient, headers: dict[str, str]) -> str:
    return upload(client, headers, "energy.csv", TABLE)


def test_every_numeric_column_may_be_a_series(
    client: TestClient, headers: dict[str, str], table: str
) -> None:
    job = submit(client, headers, table, data={"target_columns": ["*"]})
    data = job["config"]["data"]
    assert data["target_columns"] == ["oil", "gas", "holiday"]
    assert data["target_column"] is None
    assert (data["time_column"], data["season_length"]) == ("date", 7)


def test_covariates_and_the_calendar_are_filled_in(
    client: TestClient, headers: dict[str, str], table: str
) -> None:
    data = {**COVARIATES, "static_covariates": ["town"], "calendar": True}
    filled = submit(client, headers, table, data=data)["config"]["data"]
    assert filled["static_columns"] == [
        {"column": "town", "words": ["delft"], "location": 0.0, "scale": 1.0}
    ]
    assert (filled["frequency"], filled["calendar"]) == ("1d", True)


@pytest.mark.parametrize(
    ("data", "location", "message"),
    [
        ({**COVARIATES, "past_covariates": ["wind"]}, "past_covariates.0", "is no column"),
        ({**COVARIATES, "past_covariates": ["gas", "odd"]}, "past_covariates.1", "holds text"),
        ({**COVARIATES, "past_covariates": ["oil"]}, "past_covariates.0", "two things"),
        ({**COVARIATES, "static_covariates": ["date"]}, "static_covariates.0", "holds time"),
        ({"target_columns": ["oil", "town"]}, "target_columns.1", "holds text"),
        ({"target_columns": []}, "target_columns", "at least 1 item"),
        ({"target_columns": ["oil"], "target_column": "gas"}, "target_columns", "is enough"),
        (
            {
                **COVARIATES,
                "static_covariates": ["town"],
                "static_columns": [{"column": "town"}],
            },
            "static_columns.0",
            "that needs words",
        ),
        ({**COVARIATES, "frequency": "hourly"}, "frequency", "should match pattern"),
        ({**COVARIATES, "lags": [0]}, "lags.0", "greater than or equal to 1"),
        ({**COVARIATES, "scaling": "max"}, "scaling", "should be 'mean', 'last' or 'robust'"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(
    client: TestClient,
    headers: dict[str, str],
    table: str,
    data: dict[str, Any],
    location: str,
    message: str,
) -> None:
    body = {"task": FORECASTING, "dataset": table, "data": data}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")
    (fault,) = response.json()["errors"]
    assert fault["location"] == f"body.data.{location}"
    assert message in fault["message"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"target_column": "oil", "horizon": 10, "validation_windows": 20},
            "20 held-out origins 10 timesteps apart needs series of at least 211 timesteps",
        ),
        ({"target_column": "oil", "lags": [112]}, "lag 112 reaches beyond"),
    ],
)
def test_what_the_series_cannot_give_is_said_at_once(
    client: TestClient,
    headers: dict[str, str],
    table: str,
    data: dict[str, Any],
    message: str,
) -> None:
    body = {"task": FORECASTING, "dataset": table, "data": data}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (422, "dataset-too-small")
    assert message in response.json()["detail"]


def test_the_calendar_needs_dates(client: TestClient, headers: dict[str, str]) -> None:
    content = "value\n" + "".join(f"{i % 7}\n" for i in range(60))
    dataset = upload(client, headers, "plain.csv", content)
    body = {"task": FORECASTING, "dataset": dataset, "data": {"calendar": True}}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")
    assert "calendar needs a time column with dates" in response.json()["detail"]
