"""A real trainer learns what covariates tell, and the published network answers with them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import select

from rnn.checkpoint import load_model
from rnn.forecasting.covariates import SeriesCovariates
from rnn.forecasting.predictor import Forecaster
from service.db.engine import Database
from service.db.tables import ModelVersion
from tests.integration.machine import Machine

HORIZON = 8
LENGTH = 240


def table() -> tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Two shops whose sales nobody can foretell, but for the price that is known before. The last
    horizon is not in the file."""
    random = np.random.default_rng(0)
    prices = {shop: random.integers(1, 9, LENGTH + HORIZON).astype(float) for shop in ("a", "b")}
    sales = {shop: 100 - 5 * prices[shop] for shop in prices}
    rows = [
        f"{np.datetime64('2024-01-01') + day},{shop},{shop}-town,{sales[shop][day]},"
        f"{prices[shop][day]},{random.normal():.3f}"
        for day in range(LENGTH)
        for shop in prices
    ]
    return "\n".join(["date,shop,town,sales,price,noise", *rows]), prices, sales


def test_a_future_covariate_that_explains_everything_is_used(
    machine: Machine, database: Database
) -> None:
    content, prices, sales = table()
    machine.start_worker("workers.app")
    blind = trained(machine, database, content, {})
    seeing = trained(
        machine,
        database,
        content,
        {
            "past_covariates": ["noise"],
            "future_covariates": ["price"],
            "static_covariates": ["town"],
            "calendar": True,
        },
    )
    known = [sales[shop][:LENGTH] for shop in prices]
    covariates = [
        SeriesCovariates(
            {"noise": np.zeros(LENGTH)},
            {"price": prices[shop]},
            {"town": f"{shop}-town"},
            datetime(2024, 1, 1, tzinfo=UTC),
        )
        for shop in prices
    ]
    truth_bt = np.stack([sales[shop][LENGTH:] for shop in prices])
    without = blind.forecast(known, HORIZON, []).mean_bt
    given = seeing.forecast(known, HORIZON, [], covariates).mean_bt
    assert np.abs(given - truth_bt).mean() < 0.25 * np.abs(without - truth_bt).mean()


def trained(machine: Machine, database: Database, content: str, data: dict[str, Any]) -> Forecaster:
    config = {
        "task": "time-series-forecasting",
        "architecture": {"hidden_size": 16, "num_layers": 1},
        "training": {"max_steps": 250, "batch_size": 32, "learning_rate": 0.01, "max_epochs": 50},
        "data": {
            "target_column": "sales",
            "series_column": "shop",
            "horizon": HORIZON,
            "context_length": 16,
            **data,
        },
    }
    job_id: UUID = machine.submit_config(config, content)
    machine.waker.wake("cpu")
    job = machine.wait_state(job_id, "succeeded", "failed", timeout_seconds=60)
    assert job.state == "succeeded", job.error
    with database.transaction() as db:
        version = db.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one()
    model = load_model(machine.artifacts.absolute(version.artifact_path))
    assert isinstance(model, Forecaster)
    return model
