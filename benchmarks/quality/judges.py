"""Figures of published models on the test parts: of answers over HTTP, or, where there would be too
many, of the job itself."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.quality import figures
from benchmarks.quality.figures import Floats
from benchmarks.quality.series import M4_HORIZON, M4_SEASON, LongSeries, m4_hourly
from benchmarks.quality.texts import Labelled
from benchmarks.service import Run, Service

NUMBERS_A_REQUEST = 400_000  # of a body, which may have 8 MiB
VALUES_A_REQUEST = 1_500_000  # of an answer
CHARACTERS_A_REQUEST = 3_000_000
MISS = 0.05  # share that an interval of M4 may miss
INTERVAL = (MISS / 2, 1 - MISS / 2)


def back_test(run: Run) -> dict[str, float]:
    """Every window of the test part, as the job itself judged the published network; the squared
    error of means, the absolute one of medians, in units of the training part."""
    metrics = run.job["metrics"]
    return {"MSE": metrics["test_mse_standardised"], "MAE": metrics["test_mae_standardised"]}


def long_series_naive(series: LongSeries, horizon: int) -> dict[str, float]:
    """The same of the naive forecast."""
    known, truth_bh = series.test_windows(horizon, series.season)
    naive_bh = series.naive(known, horizon)
    return {"MSE": figures.mse(naive_bh, truth_bh), "MAE": figures.mae(naive_bh, truth_bh)}


def m4(service: Service, run: Run, data: Path) -> dict[str, float]:
    """The figures of the M4 competition; points are medians."""
    train, truth_bh = m4_hourly(data)
    known = list(train.values())
    low, high = (str(level) for level in INTERVAL)
    forecast = _forecasts(service, run, known, M4_HORIZON, (INTERVAL[0], 0.5, INTERVAL[1]))
    scale_b = figures.seasonal_scale(known, M4_SEASON)
    return {
        **_m4_points(known, forecast["0.5"], truth_bh),
        "MSIS": figures.msis(forecast[low], forecast[high], truth_bh, scale_b, MISS),
        "coverage": figures.coverage(forecast[low], forecast[high], truth_bh),
    }


def m4_naive(data: Path) -> dict[str, float]:
    """The same of the seasonal naive forecast, which has no interval."""
    train, truth_bh = m4_hourly(data)
    known = list(train.values())
    return _m4_points(known, figures.seasonal_naive(known, M4_SEASON, M4_HORIZON), truth_bh)


def _m4_points(known: list[Floats], forecast_bh: Floats, truth_bh: Floats) -> dict[str, float]:
    scale_b = figures.seasonal_scale(known, M4_SEASON)
    naive2_bh = figures.naive2(known, M4_SEASON, M4_HORIZON)
    mase, smape = figures.mase(forecast_bh, truth_bh, scale_b), figures.smape(forecast_bh, truth_bh)
    naive = figures.smape(naive2_bh, truth_bh), figures.mase(naive2_bh, truth_bh, scale_b)
    return {"MASE": mase, "sMAPE": smape, "OWA": figures.owa(smape, mase, *naive)}


def _forecasts(
    service: Service, run: Run, known: list[Floats], horizon: int, levels: tuple[float, ...]
) -> dict[str, Floats]:
    """By "mean" and by level: [series, horizon]."""
    parts: dict[str, list[Floats]] = {"mean": [], **{str(level): [] for level in levels}}
    longest = max(map(len, known))
    count = min(NUMBERS_A_REQUEST // longest, VALUES_A_REQUEST // (horizon * (1 + len(levels))))
    for start in range(0, len(known), count):
        series = [values.round(6).tolist() for values in known[start : start + count]]
        answer = service.post(
            "/forecasts", model=run.name, series=series, horizon=horizon, quantiles=list(levels)
        )
        forecasts = answer["forecasts"]
        parts["mean"].append(np.array([forecast["mean"] for forecast in forecasts]))
        for level in levels:
            found = [forecast["quantiles"][str(level)] for forecast in forecasts]
            parts[str(level)].append(np.array(found))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def accuracy(service: Service, run: Run, labelled: Labelled) -> dict[str, float]:
    """Percent of the texts with the right label."""
    right = 0
    for part in _requests(labelled):
        answer = service.post("/sentiment", model=run.name, texts=[text for text, _ in part])
        results = zip(answer["results"], part, strict=True)
        right += sum(result["label"] == label for result, (_, label) in results)
    return {"accuracy, %": 100 * right / len(labelled)}


def _requests(labelled: Labelled) -> Iterator[Labelled]:
    part: Labelled = []
    characters = 0
    for text, label in labelled:
        if part and characters + len(text) > CHARACTERS_A_REQUEST:
            yield part
            part, characters = [], 0
        part.append((text, label))
        characters += len(text)
    yield part


def held_out_text(run: Run) -> dict[str, float]:
    """A character model on the part that is held out at the end of its text."""
    return {"nats per character": run.job["metrics"]["bits_per_character"] * math.log(2)}


def test_text(run: Run) -> dict[str, float]:
    """A word model on the test part: with its weights as they are, with a cache of what it has just
    read, and going on learning from what it reads."""
    metrics = run.job["metrics"]
    names = {
        "static": "test_perplexity",
        "cache": "test_perplexity_cache",
        "dynamic": "test_perplexity_dynamic",
    }
    return {f"perplexity, {shown}": metrics[name] for shown, name in names.items()}
