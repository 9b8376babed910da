"""What a trained forecaster can be asked for. Needs no torch: a server refuses the rest at once."""

from collections.abc import Sequence

from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.errors import InputMismatchError

_TRAINED_LEVELS = (QUANTILE_LEVELS[0], QUANTILE_LEVELS[-1])
_LEVELS_OF_A_DENSITY = (0.001, 0.999)
_HORIZONS_OF_RECURSION = 10  # so many times the trained one: the errors of each step add up


def longest_horizon(config: ForecastingConfig) -> int:
    """The trained one; recursive decoding goes on beyond it. `config` is resolved."""
    assert config.data.horizon is not None
    recursive = config.architecture.decoding == "recursive"
    return config.data.horizon * (_HORIZONS_OF_RECURSION if recursive else 1)


def level_range(config: ForecastingConfig) -> tuple[float, float]:
    """Lowest and highest quantile level that is known: of the trained ones, or of a density where
    the network predicts its parameters and no paths have to stand for it."""
    density = config.architecture.distribution in ("student_t", "negative_binomial")
    if density and config.architecture.decoding != "recursive":
        return _LEVELS_OF_A_DENSITY
    return _TRAINED_LEVELS


def check_reach(config: ForecastingConfig, horizon: int, quantiles: Sequence[float]) -> None:
    """Raises InputMismatchError for a horizon or a level that was not trained."""
    longest = longest_horizon(config)
    if not 1 <= horizon <= longest:
        raise InputMismatchError(
            f"horizon {horizon} is not between 1 and the model's {longest}", ("horizon",)
        )
    lowest, highest = level_range(config)
    for place, level in enumerate(quantiles):
        if not lowest <= level <= highest:
            raise InputMismatchError(
                f"quantile {level} is not between the model's {lowest} and {highest}",
                ("quantiles", place),
            )
