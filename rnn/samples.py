"""What a network answers to held-out examples while it learns: for people to look at, and small.

A sample draws no number of the training's generators and changes no weight, gradient or state: a
training is bit for bit the same with and without it. Needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rnn.time_share import TimeShare

# Of the training time, which samples may take.
MOST_TIME = 0.01
# Steps of training that the first sample is expected to take, for want of a measurement.
_FIRST_SAMPLE_STEPS = 1.0
# Every evaluation has a sample up to this one; from there on to twice as many every second, then
# every fourth, and so on.
_ALL_UP_TO = 16

MOST_CHARACTERS = 1_000
"""Of any text in a sample; a longer one is cut."""


@dataclass(frozen=True)
class ContinuedText:
    """The beginning of the held-out text, and how the network goes on with it."""

    prompt: str
    text: str


@dataclass(frozen=True)
class ForecastSeries:
    """A held-out window, its values in the unit of the series; NaN is a missing one.

    Attributes:
        series: its name.
        position: of the first timestep that is forecast, from 0 at the start of the series.
        history: the values before it.
        truth: those that came, as many as are forecast.
        quantiles: by level; empty where the network says points.
    """

    series: str
    position: int
    history: Sequence[float]
    truth: Sequence[float]
    mean: Sequence[float]
    quantiles: dict[float, Sequence[float]]


@dataclass(frozen=True)
class LabelledText:
    """A held-out text with its label, the one that the network takes for the likeliest, and the
    probability that it gives that one."""

    text: str
    label: str
    prediction: str
    score: float


Sample = ContinuedText | ForecastSeries | LabelledText


class SampleTimes(TimeShare):
    """When to sample: after evaluations, the rarer the more there were, and only where the time
    for it is earned."""

    def __init__(self, *, wanted: bool) -> None:
        super().__init__(MOST_TIME, _FIRST_SAMPLE_STEPS)
        self._wanted = wanted

    def due(self, evaluations: int) -> bool:
        """After so many evaluations: each of the first 16, and 8 more whenever their number has
        doubled."""
        distance = max(1, (1 << (evaluations - 1).bit_length()) // _ALL_UP_TO)
        return self._wanted and evaluations % distance == 0


def shortened(text: str) -> str:
    """The beginning of a text, no longer than `MOST_CHARACTERS`."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
