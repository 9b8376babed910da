"""Rolling-origin back-tests (Tashman 2000): which forecasts of the past are held out. Needs no
torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class BackTest:
    """Held-out forecast origins, the same for every series when counted from its end.

    The last `test_windows` origins are the test part. The validation part lies before it, so far
    that what it predicts ends where the test part's begins; so does training before it.

    Attributes:
        horizon: timesteps that are predicted from each origin.
        step: timesteps between two origins.
    """

    horizon: int
    step: int
    validation_windows: int
    test_windows: int

    @property
    def tested(self) -> int:
        """Timesteps at the end of a series from the first test origin on."""
        return self.horizon + (self.test_windows - 1) * self.step if self.test_windows else 0

    @property
    def held_out(self) -> int:
        """Timesteps at the end of a series from the first held-out origin on."""
        last = self.tested + max(self.horizon, self.step) if self.test_windows else self.horizon
        return last + (self.validation_windows - 1) * self.step

    def validation_origins(self, length: int) -> IntArray:
        """Positions of the first predicted timestep, in a series of that length; rising."""
        return self._origins(length - self.held_out, self.validation_windows)

    def test_origins(self, length: int) -> IntArray:
        return self._origins(length - self.tested, self.test_windows)

    def _origins(self, first: int, count: int) -> IntArray:
        origins = first + self.step * np.arange(count)
        return origins[origins > 0]


@dataclass(frozen=True)
class HeldOut:
    """Held-out windows of many series: those with an observed value both behind and ahead.

    Attributes:
        series_b, origin_b: the series of each window, and the position of its first predicted
            timestep.
        known: by series, the values before the first of its windows.
    """

    series_b: IntArray
    origin_b: IntArray
    known: dict[int, FloatArray]

    def __len__(self) -> int:
        return len(self.series_b)

    @classmethod
    def of(
        cls, series: Sequence[FloatArray], origins: Sequence[IntArray], horizon: int
    ) -> "HeldOut":
        owners, found, known = [], [], {}
        for index, (values, candidates) in enumerate(zip(series, origins, strict=True)):
            seen = np.concatenate([[0], np.cumsum(~np.isnan(values))])
            usable = candidates[
                (seen[candidates] > 0) & (seen[candidates + horizon] > seen[candidates])
            ]
            if len(usable):
                known[index] = values[: usable[0]]
            found.append(usable)
            owners.append(np.full(len(usable), index, dtype=np.int64))
        return cls(np.concatenate(owners), np.concatenate(found), known)

    def thinned(self, most: int) -> "HeldOut":
        """At most so many of the windows, at equal distances."""
        if len(self) <= most:
            return self
        kept = np.linspace(0, len(self) - 1, most).astype(np.int64)
        return HeldOut(self.series_b[kept], self.origin_b[kept], self.known)
