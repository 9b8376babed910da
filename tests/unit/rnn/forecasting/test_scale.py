import numpy as np
import pytest

from rnn.config.forecasting import ScalingName
from rnn.forecasting.scale import fit_window_scale, last_observed

SCALINGS: list[ScalingName] = ["mean", "last", "robust"]


@pytest.mark.parametrize(
    ("scaling", "location", "scale"),
    [("mean", 5.0, 3.2), ("last", 9.0, 3.2), ("robust", 4.0, 7.0)],
)
def test_each_scaling_of_one_window(scaling: ScalingName, location: float, scale: float) -> None:
    found = fit_window_scale(np.array([[2.0, np.nan, 1.0, 4.0, 9.0, 9.0]]), scaling)
    assert found.location_b.tolist() == [location]
    assert found.scale_b.tolist() == [pytest.approx(scale)]


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("row", [[0.0, 0.0], [7.0, 7.0], [np.nan, np.nan], [1e-300, 2e-300]])
def test_a_window_without_variation_has_a_usable_scale(
    row: list[float], scaling: ScalingName
) -> None:
    scale = fit_window_scale(np.array([row]), scaling)
    assert scale.scale_b[0] > 0
    assert np.isfinite(scale.location_b[0])


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_ignores_missing_values(scaling: ScalingName) -> None:
    with_gap = fit_window_scale(np.array([[1.0, np.nan, 3.0, 8.0, np.nan]]), scaling)
    without = fit_window_scale(np.array([[1.0, 3.0, 8.0]]), scaling)
    assert with_gap.scale_b == pytest.approx(without.scale_b)
    assert with_gap.location_b == pytest.approx(without.location_b)


def test_the_quartiles_are_those_of_each_row_alone() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(20, 31))
    rows[random.random(rows.shape) < 0.4] = np.nan
    found = fit_window_scale(rows, "robust")
    low_b, middle_b, high_b = np.nanquantile(rows, [0.25, 0.5, 0.75], axis=1)
    np.testing.assert_allclose(found.location_b, middle_b)
    np.testing.assert_allclose(found.scale_b, high_b - low_b)


def test_a_window_of_mostly_one_value_is_scaled_by_the_others() -> None:
    """The interquartile range of counts that are mostly zero is zero."""
    scale = fit_window_scale(np.array([[0.0] * 9 + [5.0]]), "robust")
    assert scale.location_b[0] == 0
    assert scale.scale_b[0] == pytest.approx(0.9)


def test_last_observed_skips_missing_values() -> None:
    rows = np.array([[1.0, 2.0, np.nan], [np.nan, np.nan, 4.0], [np.nan] * 3])
    np.testing.assert_array_equal(last_observed(rows), [2, 4, np.nan])
