import io
import json
import math
from typing import Any

import pytest

from rnn.events import (
    Alert,
    BatchDivided,
    Diagnosed,
    Evaluated,
    LayerFigures,
    Sampled,
    StepDone,
)
from rnn.samples import ContinuedText, ForecastSeries, LabelledText
from workers import trainer_control
from workers.messages import REPORTS
from workers.trainer_control import Meter, Reporter, TrainingControl


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(trainer_control, "time", clock)
    return clock


def step(number: int, loss: float = 1.0) -> StepDone:
    return StepDone(number, 100, number / 10, loss, 0.1, math.inf, 32)


def sent(pipe: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in pipe.getvalue().splitlines()]


def test_first_step_at_once_then_one_each_half_second(clock: Clock) -> None:
    pipe = io.BytesIO()
    meter = Meter(Reporter(pipe))
    for number in range(1, 17):  # eight steps a second
        meter.step(step(number))
        clock.now += 0.125
    assert [report["step"] for report in sent(pipe)] == [1, 5, 9, 13]
    assert sent(pipe)[0]["steps_per_second"] is None
    assert sent(pipe)[-1]["steps_per_second"] == pytest.approx(8)
    assert sent(pipe)[-1]["timesteps_per_second"] == pytest.approx(256)
    meter.flush()
    assert [report["timesteps"] for report in sent(pipe)] == [32, 128, 128, 128, 96]


def test_the_time_of_an_evaluation_is_no_time_of_steps(clock: Clock) -> None:
    pipe = io.BytesIO()
    meter = Meter(Reporter(pipe))
    for number in range(1, 11):
        meter.step(step(number))
        if number == 5:
            clock.now += 3
            meter.evaluated(Evaluated(5, 0.5, {"loss": 1.0}, improved=True))
        clock.now += 0.125
    rates = [report["timesteps_per_second"] for report in sent(pipe) if report["type"] == "step"]
    assert rates[1:] == [pytest.approx(256)] * (len(rates) - 1)


def test_every_evaluation_comes_after_the_step_it_belongs_to(clock: Clock) -> None:
    pipe = io.BytesIO()
    meter = Meter(Reporter(pipe))
    meter.step(step(1))
    meter.step(step(2))
    meter.evaluated(Evaluated(2, 0.2, {"loss": math.nan}, improved=False))
    assert [report["type"] for report in sent(pipe)] == ["step", "step", "evaluation"]
    assert sent(pipe)[-1]["metrics"] == {"loss": None}


def test_a_step_carries_the_time_it_was_done(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step used to carry the time after the evaluation, which hid how long that took."""
    times = iter(["first", "second", "evaluated"])
    monkeypatch.setattr("workers.trainer_control.now", lambda: next(times))
    pipe = io.BytesIO()
    meter = Meter(Reporter(pipe))
    meter.step(step(1))
    meter.step(step(2))
    clock.now += 9
    meter.evaluated(Evaluated(2, 0.2, {}, improved=False))
    assert [report["at"] for report in sent(pipe)] == ["first", "second", "evaluated"]


def test_what_is_not_finite_is_null(clock: Clock) -> None:
    pipe = io.BytesIO()
    Meter(Reporter(pipe)).step(step(1, loss=math.nan))
    assert sent(pipe)[0]["loss"] is None
    assert sent(pipe)[0]["gradient_norm"] is None


def test_a_sample_has_what_json_and_a_database_can_hold(clock: Clock) -> None:
    pipe = io.BytesIO()
    meter = Meter(Reporter(pipe))
    meter.step(step(1))
    forecast = ForecastSeries(
        "a\0", 3, [math.nan, 1 / 3, 2.0], [1e300], [math.inf], {0.025: [-math.inf], 0.5: [0.1]}
    )
    meter.sampled(Sampled(1, 0.1, [ContinuedText("half \ud800", "nul \0")]))
    meter.sampled(Sampled(2, 0.2, [forecast]))
    meter.sampled(Sampled(3, 0.3, [LabelledText("t", "good", "bad", math.nan)]))
    texts, forecasts, labels = sent(pipe)[1:]
    assert texts["samples"] == [{"kind": "text", "prompt": "half ?", "text": "nul \ufffd"}]
    assert forecasts["samples"] == [
        {
            "kind": "forecast",
            "series": "a\ufffd",
            "position": 3,
            "history": [None, 0.3333333, 2.0],
            "truth": [1e300],
            "mean": [None],
            "quantiles": {"0.025": [None], "0.5": [0.1]},
        }
    ]
    assert labels["samples"] == [
        {"kind": "label", "text": "t", "label": "good", "prediction": "bad", "score": None}
    ]
    for line in pipe.getvalue().splitlines():
        REPORTS.validate_json(line)


def test_a_look_comes_after_its_step_and_what_is_not_finite_is_null(clock: Clock) -> None:
    pipe = io.BytesIO()
    meter = Meter(Reporter(pipe))
    meter.step(step(1))
    meter.step(step(2))
    figures = LayerFigures(1, {1: 0.5, 2: math.inf}, 1, {"in_gate": 0.25}, {}, 0.0, math.nan)
    meter.diagnosed(Diagnosed(2, [figures], [("exploding", 1)]))
    meter.alert(Alert(2, "exploding", 1, "layer 1: ...", "a smaller learning_rate"))
    assert [report["type"] for report in sent(pipe)] == ["step", "step", "diagnostics", "alert"]
    look, alert = sent(pipe)[2:]
    assert look["alerts"] == [["exploding", 1]]
    assert look["layers"][0]["gradient_norms"] == {"1": 0.5, "2": None}
    assert look["layers"][0]["update_ratio"] is None
    assert (alert["step"], alert["kind"], alert["layer"]) == (2, "exploding", 1)
    for line in pipe.getvalue().splitlines():
        REPORTS.validate_json(line)


def test_flush_reports_nothing_twice(clock: Clock) -> None:
    pipe = io.BytesIO()
    meter = Meter(Reporter(pipe))
    meter.step(step(1))
    meter.flush()
    assert len(sent(pipe)) == 1


def test_a_checkpoint_is_due_at_each_interval_and_the_first_one_soon(clock: Clock) -> None:
    """A full disk shows at once, and a job of a second has none."""
    control = TrainingControl(checkpoint_interval_seconds=30)
    clock.now += 1.5
    assert not control.should_checkpoint()
    clock.now += 0.5
    assert control.should_checkpoint()
    control.saved()
    clock.now += 29
    assert not control.should_checkpoint()
    clock.now += 1
    assert control.should_checkpoint()
    assert control.elapsed_seconds() == 32


def test_where_checkpoints_come_sooner_than_that_so_does_the_first(clock: Clock) -> None:
    control = TrainingControl(checkpoint_interval_seconds=0.5)
    clock.now += 0.5
    assert control.should_checkpoint()


def test_batches_in_parts_are_told_after_the_step_before(clock: Clock) -> None:
    pipe = io.BytesIO()
    meter = Meter(Reporter(pipe))
    meter.step(step(1))
    meter.step(step(2))
    meter.divided(BatchDivided(3, 2, 16, "no\x00 memory\nfor this"))
    assert [report["type"] for report in sent(pipe)] == ["step", "step", "divided"]
    told = sent(pipe)[-1]
    assert (told["step"], told["parts"], told["rows"]) == (3, 2, 16)
    assert told["reason"] == "no\ufffd memory"
    REPORTS.validate_json(pipe.getvalue().splitlines()[-1])


def test_a_drain_stops_only_after_its_checkpoint(clock: Clock) -> None:
    control = TrainingControl(30)
    control.stop(save=True)
    assert (control.should_checkpoint(), control.should_stop()) == (True, False)
    control.saved()
    assert (control.should_checkpoint(), control.should_stop()) == (False, True)


def test_a_cancel_stops_without_one_even_after_a_drain(clock: Clock) -> None:
    control = TrainingControl(30)
    control.stop(save=True)
    control.stop(save=False)
    assert (control.should_checkpoint(), control.should_stop()) == (False, True)
