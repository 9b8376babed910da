"""Measurements fall into the first bound that they do not exceed."""

from service.inference.histogram import SECONDS, Histogram


def test_measurements_are_counted_by_size() -> None:
    found = Histogram.of((1.0, 2.0, 4.0))
    for measured in (0.5, 1.0, 1.5, 4.0, 4.1, 100.0):
        found.observe(measured)
    assert (found.counts, found.total) == ([2, 1, 1, 2], 111.1)


def test_the_bounds_of_times_rise() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))
    assert (SECONDS[0], SECONDS[-1]) == (0.0001, 50.0)
