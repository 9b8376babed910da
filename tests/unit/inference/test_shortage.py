"""Too little memory: rows go in parts, and what has no room at all is told."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from rnn.checkpoint import load_model
from rnn.forecasting.predictor import Forecaster
from service.errors import UnavailableError
from service.inference.batcher import Batcher, ForecastJob
from service.inference.messages import Failed, Forecast
from service.inference.requests import Forecasts, Network
from service.inference.shortage import in_parts
from tests.serving import FORECASTING

ROOM = 3  # rows


def compute(jobs: list[str], rows: list[int]) -> list[str]:
    if len(rows) > ROOM:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    return [f"{job}{row}" for job, row in zip(jobs, rows, strict=True)]


def test_rows_that_have_no_room_together_go_in_halves() -> None:
    jobs, rows = ["a"] * 5 + ["b"] * 8, [*range(5), *range(8)]
    assert in_parts(compute, jobs, rows) == [
        f"{job}{row}" for job, row in zip(jobs, rows, strict=True)
    ]


def test_one_row_without_room_and_other_errors_are_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.unit.inference.test_shortage.ROOM", 0)
    with pytest.raises(MemoryError, match=r"Tried to allocate 20\.00 MiB"):
        in_parts(compute, ["a", "b"], [0, 0])
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda jobs, rows: [1 / 0], ["a"], [0])  # noqa: ARG005


def test_a_batch_in_parts_has_the_digits_of_the_whole(
    trained: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cast(Forecaster, load_model(trained[FORECASTING]))
    series = [np.random.default_rng(seed).normal(size=30) for seed in range(10)]
    request = Forecast(1, Network(Path("here"), "0"), series, 12, [0.5], None, 10_000, 2, 5)

    def answer() -> Forecasts:
        batcher: Batcher[str] = Batcher()
        batcher.add("me", ForecastJob(request, model))
        ((_, found),) = batcher.turn()
        batcher.close()
        return cast(Forecasts, found)

    whole, forecast, sizes = answer(), model.forecast, list[int]()

    def short(rows: list[Any], *others: Any, **paths: Any) -> Any:
        if len(rows) > ROOM:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        sizes.append(len(rows))
        return forecast(rows, *others, **paths)

    monkeypatch.setattr(model, "forecast", short)
    parted = answer()
    np.testing.assert_array_equal(parted.quantiles_bqt, whole.quantiles_bqt)
    np.testing.assert_array_equal(parted.samples_bst, whole.samples_bst)
    assert sizes == [2, 3, 2, 3]


def test_it_is_no_defect_of_ours() -> None:
    failed = Failed.of(7, torch.OutOfMemoryError("CUDA out of memory. Of process 1234."))
    error = failed.to_error()
    assert isinstance(error, UnavailableError)
    assert error.retry_after_seconds
    assert "not enough memory" in error.detail
    assert "1234" not in error.detail
