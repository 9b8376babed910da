from typing import Any

import pytest

from rnn.config import ForecastingConfig
from rnn.errors import InputMismatchError
from rnn.forecasting.reach import check_reach, level_range, longest_horizon


def config(**architecture: Any) -> ForecastingConfig:
    return ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": architecture,
            "data": {"horizon": 12},
        }
    )


@pytest.mark.parametrize(
    ("distribution", "decoding", "longest", "levels"),
    [
        ("quantile", "direct", 12, (0.025, 0.975)),
        ("point", "segments", 12, (0.025, 0.975)),
        ("student_t", "direct", 12, (0.001, 0.999)),
        ("negative_binomial", "segments", 12, (0.001, 0.999)),
        ("student_t", "recursive", 120, (0.025, 0.975)),
    ],
)
def test_how_far_a_forecaster_reaches(
    distribution: str, decoding: str, longest: int, levels: tuple[float, float]
) -> None:
    asked = config(distribution=distribution, decoding=decoding)
    assert longest_horizon(asked) == longest
    assert level_range(asked) == levels
    check_reach(asked, longest, levels)


@pytest.mark.parametrize(
    ("horizon", "quantiles", "place", "words"),
    [
        (13, [], ("horizon",), "horizon 13 is not between 1 and the model's 12"),
        (0, [], ("horizon",), "horizon 0"),
        (1, [0.5, 0.98], ("quantiles", 1), "quantile 0.98 is not between the model's 0.025"),
    ],
)
def test_beyond_it(
    horizon: int, quantiles: list[float], place: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputMismatchError, match=words) as error:
        check_reach(config(), horizon, quantiles)
    assert error.value.location == place
