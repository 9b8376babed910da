"""A step of a series whose values come a few at a time."""

from datetime import datetime

import numpy as np

from rnn.errors import InputMismatchError
from rnn.forecasting import live
from rnn.forecasting.predictor import Forecaster
from service.inference.live_requests import HiddenLayers, HiddenLook, SeriesAnswer, SeriesStep


def advance(model: Forecaster, request: SeriesStep) -> SeriesAnswer:
    """Raises as `service.inference.live.advance_in_turns`."""
    network = request.network
    if not request.state:
        start = None if request.start is None else datetime.fromisoformat(request.start)
        series = live.begin(model, dict(request.static), start)
        return SeriesAnswer(live.to_bytes(series, network), 0, None, None)
    horizon = request.horizon or 0
    with np.errstate(over="ignore", invalid="ignore"):  # seen below, and told to the caller
        series, ahead_hf = live.extend(
            model,
            live.from_bytes(model, request.state, network),
            request.values_t,
            dict(request.past),
            dict(request.future),
            horizon=horizon,
        )
        state = live.to_bytes(series, network)
        if not horizon:
            return SeriesAnswer(state, series.count, None, None)
        found = live.forecast(model, series, ahead_hf, horizon, request.quantiles)
    if not (np.isfinite(found.mean_bt).all() and np.isfinite(found.quantiles_bqt).all()):
        raise InputMismatchError(
            "the forecast is not finite: the values of the series are too large for the network"
        )
    return SeriesAnswer(state, series.count, found.mean_bt[0], found.quantiles_bqt[0])


def look(model: Forecaster, request: HiddenLook) -> HiddenLayers:
    """Raises as `service.inference.live.advance_in_turns`."""
    series = live.from_bytes(model, request.state, request.network)
    with np.errstate(over="ignore", invalid="ignore"):  # told to the caller
        hidden_lbh = live.hidden(model, series).hidden_lbh
    return HiddenLayers(series.count, hidden_lbh[:, 0].float().cpu().numpy())
