"""Forecasts and classifications of many rows cut into turns, between which a trainer looks up."""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rnn.errors import InputMismatchError
from rnn.forecasting.covariates import SeriesCovariates, check_covariates

if TYPE_CHECKING:  # imports torch
    from rnn.classification.predictor import Classifier
    from rnn.forecasting.predictor import Forecaster

ROWS_PER_TURN = 64  # more rows at once gain nothing on a CPU, and block


def forecast_in_turns(
    model: "Forecaster",
    series: Sequence[np.ndarray],
    horizon: int,
    quantiles: Sequence[float],
    covariates: Sequence[SeriesCovariates],
) -> Generator[None, None, tuple[np.ndarray, np.ndarray]]:
    """Returns mean_bt and quantiles_bqt. Raises InputMismatchError naming what does not fit."""
    # All at once first: in an error the series have the numbers that the caller gave them.
    check_covariates(series, covariates, model.config.data, horizon)
    means, bands = [], []
    for start in range(0, len(series), ROWS_PER_TURN):
        if start:
            yield
        with np.errstate(over="ignore", invalid="ignore"):  # seen below, and told to the caller
            rows = slice(start, start + ROWS_PER_TURN)
            result = model.forecast(series[rows], horizon, quantiles, covariates[rows])
        means.append(result.mean_bt)
        bands.append(result.quantiles_bqt)
    mean_bt, quantiles_bqt = np.concatenate(means), np.concatenate(bands)
    require_finite(mean_bt, quantiles_bqt)
    return mean_bt, quantiles_bqt


def require_finite(mean_bt: np.ndarray, quantiles_bqt: np.ndarray) -> None:
    """Raises InputMismatchError naming the first series whose forecast is not."""
    finite_b = np.isfinite(mean_bt).all(axis=1) & np.isfinite(quantiles_bqt).all(axis=(1, 2))
    if not finite_b.all():
        raise InputMismatchError(
            f"the forecast of series {int(np.argmin(finite_b))} is not finite: "
            "its values are too large for the network"
        )


def classify_in_turns(
    model: "Classifier", texts: Sequence[str]
) -> Generator[None, None, tuple[np.ndarray, list[bool], list[float]]]:
    """Returns probabilities_bc, and for each text whether it was cut and its share of known words.

    Texts of similar length go together, so that little of a turn is padding.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    probabilities_bc = np.empty((len(texts), len(model.labels)))
    truncated = [False] * len(texts)
    known_share = [0.0] * len(texts)
    for start in range(0, len(order), ROWS_PER_TURN):
        if start:
            yield
        rows = order[start : start + ROWS_PER_TURN]
        result = model.classify([texts[i] for i in rows])
        probabilities_bc[rows] = result.probabilities_bc
        for place, i in enumerate(rows):
            truncated[i] = result.truncated[place]
            known_share[i] = result.known_share[place]
    return probabilities_bc, truncated, known_share
