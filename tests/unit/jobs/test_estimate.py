from typing import Any, get_args

import pytest
import torch
from sqlalchemy import update
from sqlalchemy.orm import Session

from rnn.config import ForecastingConfig, OptimizerName, TrainingConfig
from rnn.optim import build_optimizer
from rnn.resolve import parameter_count, resolve, workload
from service.db.tables import Dataset, Job
from service.jobs.estimate import FLOAT_BYTES, bytes_per_weight, estimate
from service.jobs.submission import Prepared
from tests.job_records import make_job, make_workspace

SERIES: dict[str, Any] = {
    "series": {
        "series": 2,
        "points": 800,
        "min_length": 400,
        "median_length": 400,
        "max_length": 400,
        "frequency": "1h",
        "season_length": 24,
    }
}


def prepared(dataset: Dataset, queue: str = "cpu", **training: Any) -> Prepared:
    chosen = ForecastingConfig.model_validate(
        {"task": "time-series-forecasting", "training": training}
    )
    config = resolve(chosen, SERIES)
    count = parameter_count(config, SERIES)
    return Prepared(dataset.id, config, None, queue, count, workload(config, SERIES))


def ended(db: Session, dataset: Dataset, like: Prepared, rate: float, **changes: Any) -> None:
    config = like.config.model_dump(mode="json")
    job = make_job(db, dataset, config=config, queue=like.queue)
    values = {"state": "succeeded", "progress": {"steps_per_second": rate}, **changes}
    db.execute(update(Job).where(Job.id == job.id).values(values))


def test_without_an_earlier_job_the_time_is_not_known(db: Session, dataset: Dataset) -> None:
    asked = prepared(dataset)
    ended(db, dataset, asked, 10.0, state="failed")
    ended(db, dataset, prepared(dataset, queue="gpu"), 10.0)
    assert estimate(db, dataset.workspace_id, asked).seconds is None
    assert estimate(db, make_workspace(db, "two").id, asked).seconds is None


def test_the_same_training_takes_its_steps_at_the_rate_it_had(
    db: Session, dataset: Dataset
) -> None:
    asked = prepared(dataset, max_epochs=3)
    for rate in (1.0, 10.0, 1000.0):
        ended(db, dataset, asked, rate)
    found = estimate(db, dataset.workspace_id, asked)
    windows = asked.config.training.model_dump()["windows_per_epoch"]
    assert found.steps == 3 * -(-windows // 64)
    assert found.seconds == pytest.approx(found.steps / 10.0)


def test_it_is_in_proportion_to_the_batch_and_never_beyond_the_limits(
    db: Session, dataset: Dataset
) -> None:
    ended(db, dataset, prepared(dataset), 10.0)
    large = prepared(dataset, batch_size=128, max_steps=50)
    assert estimate(db, dataset.workspace_id, large).seconds == pytest.approx(2 * 50 / 10.0)
    limited = prepared(dataset, batch_size=128, max_steps=50, max_minutes=0.1)
    assert estimate(db, dataset.workspace_id, limited).seconds == pytest.approx(6.0)


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_memory_is_what_the_optimizer_keeps(optimizer: OptimizerName) -> None:
    config = TrainingConfig(optimizer=optimizer)
    network = torch.nn.Linear(30, 20)
    rule = build_optimizer(network, config)
    network(torch.ones(1, 30)).sum().backward()
    rule.step()
    weights = list(network.parameters())
    kept = [
        each
        for state in rule.state.values()
        for each in state.values()
        if torch.is_tensor(each) and each.numel() > 1
    ]
    numbers = sum(each.numel() for each in (*weights, *(w.grad for w in weights), *kept))
    count = sum(each.numel() for each in weights)
    assert bytes_per_weight(config) * count == FLOAT_BYTES * numbers
    averaged = TrainingConfig(optimizer=optimizer, averaging="exponential")
    assert bytes_per_weight(averaged) == bytes_per_weight(config) + FLOAT_BYTES
