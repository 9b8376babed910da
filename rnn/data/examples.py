"""What a trainer reads: one form per task, as plain arrays and lists."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SeriesExamples:
    """Numeric series, each in order of time with one value a timestep.

    Attributes:
        ids: name of each series.
        values: float64 [T] for each series; NaN where a value is missing.
        starts: time of each series' first value in UTC, where the file has times.
        frequency: distance of two timesteps ("15m", "1h", "1d", "1w", "1mo", "1q", "1y"), if known.
        past_covariates: float64 [T or more, P] for each series, or None where there are none.
        future_covariates: float64 [T or more, F] for each series: they may go on after the values.
            Series may share one array of either.
        static_covariates: float64 [S, K], a row a series: numbers, or places in the words of
            `StaticColumn`; NaN where unknown.
    """

    ids: list[str]
    values: list[NDArray[np.float64]]
    starts: list[datetime | None]
    frequency: str | None
    past_covariates: list[NDArray[np.float64]] | None = None
    future_covariates: list[NDArray[np.float64]] | None = None
    static_covariates: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class TextExamples:
    """Labelled texts. `splits` holds "train", "validation" or "test" for each, where given."""

    texts: list[str]
    labels: list[str]
    splits: list[str] | None


@dataclass(frozen=True)
class CorpusExamples:
    """One long text as uint8 UTF-8 bytes, in reading order.

    Attributes:
        parts: bytes for training, validation and test, which follow each other, where they are
            given.
    """

    data: NDArray[np.uint8]
    parts: tuple[int, int, int] | None = None


Examples = SeriesExamples | TextExamples | CorpusExamples
