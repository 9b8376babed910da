"""The series of a job: they end where the target ends, and where the calendar is read, a timestep
that is absent from the file is a missing value."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnn.config import ForecastingData
from rnn.forecasting.calendar import is_frequency, parse_frequency
from service.datasets.batches import Batch
from service.datasets.places import shown
from service.datasets.roles import refused
from service.datasets.series import SeriesRoles, SeriesTable, read_series
from service.datasets.times import frequency

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_FILLED = 10  # timesteps in all, for each that the file holds


def read_job_series(
    batches: Iterable[Batch], roles: SeriesRoles, data: ForecastingData
) -> SeriesTable:
    """The series of a file as a job reads them; raises as `series.read_series` does, and
    ValidationError for gaps that are too long to be filled."""
    table = read_series(batches, roles)
    if roles.future:
        table = _ended(table)
    if data.calendar and table.times is not None and table.times_are_dates and not roles.wide:
        found = data.frequency or frequency(table.times)[0]
        if found is not None and is_frequency(found):
            table = _filled(table, found)
    return table


def _ended(table: SeriesTable) -> SeriesTable:
    """Without the last timesteps, of which only covariates are known. They keep those."""
    lengths = []
    for values in table.values:
        observed = np.flatnonzero(~np.isnan(values))
        lengths.append(int(observed[-1]) + 1 if len(observed) else len(values))
    return replace(
        table,
        values=[values[:length] for values, length in zip(table.values, lengths, strict=True)],
        past=[past[:length] for past, length in zip(table.past, lengths, strict=True)],
    )


def _filled(table: SeriesTable, found: str) -> SeriesTable:
    """With a missing value at each timestep that is absent between two others."""
    assert table.times is not None
    places = [_positions(times, found) for times in table.times]
    needed = sum(int(place[-1]) + 1 for place in places)
    held = sum(map(len, places))
    if needed > MOST_FILLED * held:
        gaps = [int(np.diff(place).max(initial=0)) for place in places]
        worst = int(np.argmax(gaps))
        raise refused(
            "calendar",
            f"counts timesteps of {found}, and series {shown(table.ids[worst])} has a gap of "
            f"{gaps[worst]:,}",
        )
    return replace(
        table,
        values=[_spread(*each) for each in zip(table.values, places, strict=True)],
        past=[_spread(*each) for each in zip(table.past, places, strict=True)],
        future=[_spread(*each) for each in zip(table.future, places, strict=True)],
    )


def _positions(times: Integers, found: str) -> Integers:
    """Timesteps from the start to each time, to the nearest; as they follow each other where two
    would be one."""
    step, in_months = parse_frequency(found)
    if in_months:
        months = times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        places = (months - months[0]) // step
    else:
        places = (times - times[0] + step // 2) // step
    return places if (np.diff(places) > 0).all() else np.arange(len(times))


def _spread(values: Floats, places: Integers) -> Floats:
    """Values [T] or [T, n] at their places, the last of which may not be reached."""
    reached = places[: len(values)]
    spread = np.full((int(reached[-1]) + 1, *values.shape[1:]), np.nan)
    spread[reached] = values
    return spread
