"""How far a forecast is drawn back to its base: as far as held-out windows do not show that the
network knows better."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn.errors import CheckpointError
from rnn.forecasting.decoding import Forecast

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Of fewer groups of windows nobody can tell how far their agreement is chance.
_FEWEST_GROUPS = 8


@dataclass(frozen=True)
class Shrinkage:
    """base + share * (forecast - base), with a share from 0 to 1.

    On a series that is almost a random walk nothing beats its last value, and what a network has
    learned beside it is mostly noise: a combination of both is better than either (Bates and
    Granger 1969). The least-squares share of held-out windows is itself uncertain, so it is made
    smaller by the non-negative garrote (Breiman 1995): hardly where it is certain, to 0 where it is
    less than its standard error.
    """

    share: float

    @classmethod
    def fit(
        cls, correction_bh: FloatArray, residual_bh: FloatArray, group_b: IntArray
    ) -> "Shrinkage":
        """From held-out windows, both in units of the window.

        Args:
            correction_bh: forecast less base.
            residual_bh: truth less base; NaN where it was not observed.
            group_b: windows of one group, such as those that overlap, count as one observation.
        """
        seen_bh = np.where(np.isnan(residual_bh), 0.0, correction_bh)
        _, place_b = np.unique(group_b, return_inverse=True)
        product_g = np.bincount(place_b, (seen_bh * np.nan_to_num(residual_bh)).sum(axis=1))
        square_g = np.bincount(place_b, (seen_bh**2).sum(axis=1))
        total = float(square_g.sum())
        if len(square_g) < _FEWEST_GROUPS or total == 0:
            return NO_SHRINKAGE
        share = float(product_g.sum()) / total
        if share <= 0:
            return cls(0.0)
        error = math.sqrt(float(((product_g - share * square_g) ** 2).sum())) / total
        share = min(share, 1.0)
        return cls(max(0.0, share - error**2 / share))

    def applied(self, forecast: Forecast, base_bh: FloatArray) -> Forecast:
        """Of a forecast and its base in the unit of the series."""
        if self == NO_SHRINKAGE:
            return forecast
        base_bh1 = base_bh[:, :, None]
        return Forecast(
            base_bh + self.share * (forecast.mean_bh - base_bh),
            base_bh1 + self.share * (forecast.quantiles_bhq - base_bh1),
        )

    def to_values(self) -> dict[str, Any]:
        """As a model stores it."""
        return {"shrinkage": self.share}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Shrinkage":
        """Models of before there was any are not drawn back.

        Raises:
            CheckpointError: the stored number is not a share.
        """
        share = values.get("shrinkage", 1.0)
        if not isinstance(share, float) or not 0 <= share <= 1:
            raise CheckpointError("the shrinkage is not a share from 0 to 1")
        return cls(share)


NO_SHRINKAGE = Shrinkage(1.0)
