"""Forecasts of series that come with the request."""

from datetime import datetime
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from rnn.forecasting.covariates import SeriesCovariates
from service.api.deps import ServicesDep
from service.api.direct import direct
from service.api.routing import protected_router, requires
from service.api.schemas.forecasts import ForecastAnswer, ForecastRequest
from service.api.served import served_version
from service.auth.subjects import Scope, Subject
from service.errors import Fault, ValidationError
from service.inference.options import random_seed
from service.inference.requests import Forecasts, ServedVersion
from service.settings import Settings

router: APIRouter = protected_router("/forecasts", tags=["predictions"])
THREADED_POINTS = 20_000  # converting more would hold up the event loop for milliseconds


@router.post("", response_model=ForecastAnswer)
@direct
async def forecast(
    body: ForecastRequest,
    subject: Annotated[Subject, requires(Scope.PREDICT)],
    services: ServicesDep,
) -> Response:
    """Mean, quantiles and sample paths of the timesteps that follow each series."""
    points = _check_size(body, services.settings)
    _check_counts(body)
    version = await served_version(services, subject, body.model, "time-series-forecasting")
    if points > THREADED_POINTS:
        series, covariates = await run_in_threadpool(_inputs, body)
    else:
        series, covariates = _inputs(body)
    forecasts = await services.engine.forecast(
        version,
        series,
        body.horizon,
        body.quantiles,
        covariates,
        max_values=services.settings.max_forecast_values,
        num_samples=body.num_samples,
        seed=_seed(body),
    )
    samples = 0 if forecasts.samples_bst is None else forecasts.samples_bst.size
    if forecasts.quantiles_bqt.size + samples > THREADED_POINTS:
        content = await run_in_threadpool(_answer, version, body.quantiles, forecasts)
    else:
        content = _answer(version, body.quantiles, forecasts)
    services.usage.count(subject, "series", len(series))
    return Response(content, media_type="application/json")


def _check_size(body: ForecastRequest, settings: Settings) -> int:
    """Each field and their product; returns the number of points, covariates among them."""
    if len(body.series) > settings.max_series:
        raise _too_large(f"{len(body.series)} series, the limit is {settings.max_series}")
    lengths = list(map(len, body.series))
    longest = max(lengths)
    if longest > settings.max_series_points:
        message = f"{longest} points in one series, the limit is {settings.max_series_points}"
        raise _too_large(message, lengths.index(longest))
    beside = [*(body.past_covariates or []), *(body.future_covariates or [])]
    points = sum(lengths) + sum(len(values) for each in beside for values in each.values())
    if points > settings.max_request_points:
        raise _too_large(f"{points} points in all, the limit is {settings.max_request_points}")
    if body.num_samples > settings.max_sample_paths:
        message = f"{body.num_samples} sample paths, the limit is {settings.max_sample_paths}"
        fault = Fault(("body", "num_samples"), message)
        raise ValidationError(f"The answer would be too large: {message}.", faults=[fault])
    return points


def _too_large(message: str, *place: int) -> ValidationError:
    fault = Fault(("body", "series", *place), message)
    return ValidationError(f"The request is too large: {message}.", faults=[fault])


def _check_counts(body: ForecastRequest) -> None:
    """What is given of each series is there once for each; one start may be that of all."""
    count = len(body.series)
    for field in ("past_covariates", "future_covariates", "static_covariates", "start"):
        given = getattr(body, field)
        if given is None or (field == "start" and len(given) == 1):
            continue
        if len(given) != count:
            message = f"has {len(given)} entries for {count} series"
            raise ValidationError(f"{field} {message}.", faults=[Fault(("body", field), message)])


def _inputs(body: ForecastRequest) -> tuple[list[np.ndarray], list[SeriesCovariates] | None]:
    """The series, and what is known beside each; None: nothing beside any. Raises ValidationError
    as `_arrays` does."""
    beside = (body.past_covariates, body.future_covariates, body.static_covariates, body.start)
    if beside == (None, None, None, None):
        return _arrays(body.series), None
    nothing: list[dict[str, Any]] = [{}] * len(body.series)
    starts: list[datetime | None] = [None] if body.start is None else [*body.start]
    return _arrays(body.series), [
        SeriesCovariates(_by_name(past), _by_name(future), static, start)
        for past, future, static, start in zip(
            body.past_covariates or nothing,
            body.future_covariates or nothing,
            body.static_covariates or nothing,
            starts * len(body.series) if len(starts) == 1 else starts,
            strict=True,
        )
    ]


def _by_name(lists: dict[str, list[float | None]]) -> dict[str, np.ndarray]:
    return {name: np.array(values, dtype=np.float64) for name, values in lists.items()}


def _arrays(series: list[list[float | None]]) -> list[np.ndarray]:
    """Null becomes NaN. Raises ValidationError for a series without any value."""
    arrays = [np.array(values, dtype=np.float64) for values in series]
    empty = [i for i, values in enumerate(arrays) if np.isnan(values).all()]
    if empty:
        message = "must hold at least one value that is not null"
        raise ValidationError(
            f"Series {empty[0]} {message}.",
            faults=[Fault(("body", "series", i), message) for i in empty],
        )
    return arrays


def _seed(body: ForecastRequest) -> int:
    """Of the paths of the first series; 0 where there are none."""
    if body.seed is None and body.num_samples:
        return random_seed()
    return body.seed or 0


def _answer(version: ServedVersion, levels: list[float], forecasts: Forecasts) -> bytes:
    """The JSON of a ForecastAnswer, straight from the arrays: a model would check each number."""
    names = [str(level) for level in levels]
    answers: list[dict[str, Any]] = [
        {"mean": mean_t, "quantiles": dict(zip(names, bands_qt, strict=True))}
        for mean_t, bands_qt in zip(
            forecasts.mean_bt.tolist(), forecasts.quantiles_bqt.tolist(), strict=True
        )
    ]
    if forecasts.samples_bst is not None:
        for answer, samples_st in zip(answers, forecasts.samples_bst.tolist(), strict=True):
            answer["samples"] = samples_st
    return to_json(
        {
            "model": {"name": version.name, "version": version.version},
            "horizon": forecasts.horizon,
            "forecasts": answers,
        }
    )
