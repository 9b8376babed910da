"""A series whose values come one or many at a time, and its forecast at any moment.

A forecaster reads a window of bounded length, so the end of a series is all of it that is kept,
with what a forecast takes from further back: the last observed value, where nothing was observed
since; how many timesteps there were, for the calendar and the age; and the sums that the deviation
of the whole series is made of, for the scaling `last`. A forecast is then that of the whole series.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rnn.config import ForecastingData
from rnn.errors import InputMismatchError, LiveStateError
from rnn.forecasting.covariates import SeriesCovariates, check_covariates, join_covariates
from rnn.forecasting.predictor import Forecaster, ForecastResult
from rnn.forecasting.reach import check_reach
from rnn.forecasting.scale import RunningDeviation, last_observed
from rnn.forecasting.windows import WindowBatch, time_features
from rnn.live import Kept, pack, unpack
from rnn.state import HiddenState

FloatArray = NDArray[np.float64]

TASK: Final = "time-series-forecasting"


@dataclass(frozen=True)
class LiveSeries:
    """A series so far.

    Attributes:
        count: timesteps.
        history_t: the newest values, at most as many as a window looks back; NaN: not observed.
        before: the last value observed before those; NaN: there was none.
        deviation: of all values, where the scaling asks for it.
        past_tp, known_tf: past and future covariates beside the newest values, at most as many as
            the context.
        static_k: static covariates as the network reads them.
        start: time of the first value.
    """

    count: int
    history_t: FloatArray
    before: float
    deviation: RunningDeviation | None
    past_tp: FloatArray
    known_tf: FloatArray
    static_k: FloatArray
    start: datetime | None


def begin(
    model: Forecaster, static: Mapping[str, float | str | None], start: datetime | None
) -> LiveSeries:
    """A series before its first value.

    Raises:
        InputMismatchError: static covariates, or a start, that are not those the model reads.
    """
    data, shape = model.config.data, model.shape(1)
    nothing = np.empty(0)
    known = SeriesCovariates(
        dict.fromkeys(data.past_covariates, nothing),
        dict.fromkeys(data.future_covariates, nothing),
        static,
        start,
    )
    _check(data, nothing, known, horizon=0)
    examples = join_covariates([nothing], [known], data)
    return LiveSeries(
        0,
        nothing,
        math.nan,
        RunningDeviation() if shape.scaling == "last" else None,
        np.empty((0, shape.past_covariates)),
        np.empty((0, shape.future_covariates)),
        np.empty(0) if examples.static_covariates is None else examples.static_covariates[0],
        start,
    )


def extend(
    model: Forecaster,
    live: LiveSeries,
    values_t: FloatArray,
    past: Mapping[str, FloatArray],
    future: Mapping[str, FloatArray],
    *,
    horizon: int,
) -> tuple[LiveSeries, FloatArray]:
    """The series with further values, and the future covariates after them [horizon, F].

    Args:
        past: [T] each, by the names that the columns had in training; of no values none is needed.
        future: [T + horizon] each.

    Raises:
        InputMismatchError: covariates that are not those the model reads.
    """
    data, shape = model.config.data, model.shape(1)
    if not len(values_t) and not past:
        past = dict.fromkeys(data.past_covariates, values_t)
    static: dict[str, float | str | None] = dict.fromkeys(data.static_covariates)
    _check(data, values_t, SeriesCovariates(past, future, static, live.start), horizon)
    joined_t = np.concatenate([live.history_t, values_t])
    left_t, history_t = _split(joined_t, shape.history_length)
    gone = math.nan if not len(left_t) else float(last_observed(left_t[None])[0])
    past_tp = _columns(past, data.past_covariates, len(values_t))
    future_tf = _columns(future, data.future_covariates, len(values_t) + horizon)
    known_tf, ahead_hf = np.split(future_tf, [len(values_t)])
    after = LiveSeries(
        live.count + len(values_t),
        history_t,
        live.before if math.isnan(gone) else gone,
        None if live.deviation is None else live.deviation.extended(values_t),
        _split(np.concatenate([live.past_tp, past_tp]), shape.context_length)[1],
        _split(np.concatenate([live.known_tf, known_tf]), shape.context_length)[1],
        live.static_k,
        live.start,
    )
    return after, ahead_hf


def forecast(
    model: Forecaster,
    live: LiveSeries,
    ahead_hf: FloatArray,
    horizon: int,
    quantiles: Sequence[float],
) -> ForecastResult:
    """The next `horizon` values: `Forecaster.forecast` of the whole series.

    Args:
        ahead_hf: future covariates after the series.

    Raises:
        InputMismatchError: a horizon or level that was not trained, or a series of which no value
            was observed.
    """
    check_reach(model.config, horizon, quantiles)
    return model.forecast_windows(_window(model, live, ahead_hf, horizon), horizon, quantiles)


def hidden(model: Forecaster, live: LiveSeries) -> HiddenState:
    """The state of the stack that has read the end of the series, as for a forecast with future
    covariates that are not known; before the first observed value zeros."""
    if np.isnan(live.history_t).all() and math.isnan(live.before):
        return model.initial_state()
    ahead_hf = np.full((1, live.known_tf.shape[1]), np.nan)
    return model.hidden(_window(model, live, ahead_hf, 1))


def _window(model: Forecaster, live: LiveSeries, ahead_hf: FloatArray, horizon: int) -> WindowBatch:
    """The end of the series, and what is known of the timesteps after it."""
    shape = model.shape(horizon)
    history_t = _at_end(live.history_t, shape.history_length)
    if np.isnan(history_t).all():
        if math.isnan(live.before):
            raise InputMismatchError("the series has no observed value")
        history_t[0] = live.before
    context = _at_end(live.known_tf, shape.context_length)
    beyond = np.full((shape.horizon - horizon, shape.future_covariates), np.nan)
    position_t = live.count + np.arange(-shape.context_length, shape.horizon)
    return WindowBatch(
        history_bt=history_t[None],
        future_bh=np.full((1, shape.horizon), np.nan),
        deviation_b=None if live.deviation is None else np.array([live.deviation.deviation]),
        past_btp=_at_end(live.past_tp, shape.context_length)[None],
        known_btf=np.concatenate([context, ahead_hf, beyond])[None],
        static_bk=live.static_k[None],
        time_btc=time_features(shape, [live.start], position_t[None]),
    )


def to_bytes(live: LiveSeries, network: str) -> bytes:
    """The series as it is kept between two steps."""
    sums = live.deviation or RunningDeviation()
    values = {
        "count": live.count,
        "observed": sums.count,
        "start": None if live.start is None else live.start.isoformat(),
    }
    figures = [live.before, sums.origin, sums.largest, sums.total, sums.squares]
    arrays = {
        "history": live.history_t,
        "past": live.past_tp,
        "known": live.known_tf,
        "static": live.static_k,
        "figures": np.array(figures),
    }
    return pack(TASK, network, Kept(values, arrays))


def from_bytes(model: Forecaster, data: bytes, network: str) -> LiveSeries:
    """Raises LiveStateError for bytes that are not those of a series of this network."""
    kept, shape = unpack(data, TASK, network), model.shape(1)
    count = kept.count("count")
    beside = min(count, shape.context_length)
    figures = kept.array("figures", np.float64, 5).tolist()
    start = kept.values.get("start")
    if (shape.frequency is not None) > (start is not None):
        raise LiveStateError("the state lacks the start of its series")
    return LiveSeries(
        count,
        kept.array("history", np.float64, min(count, shape.history_length)),
        figures[0],
        RunningDeviation(kept.count("observed"), *figures[1:]) if shape.scaling == "last" else None,
        kept.array("past", np.float64, beside, shape.past_covariates),
        kept.array("known", np.float64, beside, shape.future_covariates),
        kept.array("static", np.float64, len(shape.static)),
        None if start is None else datetime.fromisoformat(kept.text("start")),
    )


def _check(
    data: ForecastingData, values_t: FloatArray, known: SeriesCovariates, horizon: int
) -> None:
    """As for many series, but for the number of the series in the place of an error."""
    try:
        check_covariates([values_t], [known], data, horizon)
    except InputMismatchError as error:
        place = (*error.location[:1], *error.location[2:])
        raise InputMismatchError(str(error).replace("series 0", "the series"), place) from None


def _columns(given: Mapping[str, FloatArray], names: Sequence[str], length: int) -> FloatArray:
    if not names:
        return np.empty((length, 0))
    return np.stack([given[name] for name in names], axis=1)


def _split(joined: FloatArray, kept: int) -> tuple[FloatArray, FloatArray]:
    """What is too old, and the newest timesteps."""
    at = max(0, len(joined) - kept)
    return joined[:at], joined[at:]


def _at_end(newest: FloatArray, length: int) -> FloatArray:
    """Filled up in front with what was not observed."""
    missing = np.full((length - len(newest), *newest.shape[1:]), np.nan)
    return np.concatenate([missing, newest])
