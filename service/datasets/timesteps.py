"""The series of a job: they end where the target ends, and where the calendar is read, a timestep
that is absent from the file is a missing value."""

from collections.abc import Iterable, Sequence
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

MOST_FILLED = 10  # missing values, for each value that the file holds
MOST_FILLED_IN_ALL = 100_000_000  # 800 MB


def read_job_series(
    batches: Iterable[Batch], roles: SeriesRoles, data: ForecastingData
) -> SeriesTable:
    """The series of a file as a job reads them; raises as `series.read_series` does, and
    ValidationError for gaps that are too long to be filled."""
    return as_job_reads(read_series(batches, roles), roles, data)


def as_job_reads(table: SeriesTable, roles: SeriesRoles, data: ForecastingData) -> SeriesTable:
    """Likewise, of series that are read already."""
    if data.calendar and table.times is not None and table.times_are_dates and not roles.wide:
        found = data.frequency or frequency(table.times)[0]
        if found is not None and is_frequency(found):
            table = _filled(table, found)
    return _ended(table) if roles.future else table


def _ended(table: SeriesTable) -> SeriesTable:
    """Without values for the last timesteps, of which only covariates are known."""
    lengths = []
    for values in table.values:
        observed = np.flatnonzero(~np.isnan(values))
        lengths.append(int(observed[-1]) + 1 if len(observed) else len(values))
    return replace(
        table,
        values=[values[:length] for values, length in zip(table.values, lengths, strict=True)],
    )


def _filled(table: SeriesTable, found: str) -> SeriesTable:
    """With a missing value at each timestep that is absent between two others."""
    assert table.times is not None
    distinct = {id(times): _positions(times, found) for times in table.times}
    places = [distinct[id(times)] for times in table.times]
    needed = held = 0
    for arrays in (table.values, table.past, table.future):
        for array, place in _distinct(arrays, places):
            columns = array[0].size
            needed += (int(place[-1]) + 1) * columns
            held += len(place) * columns
    if needed - held > min(MOST_FILLED * held, MOST_FILLED_IN_ALL):
        gaps = [int(np.diff(place).max(initial=0)) for place in places]
        worst = int(np.argmax(gaps))
        raise refused(
            "calendar",
            f"counts timesteps of {found}, and series {shown(table.ids[worst])} has a gap of "
            f"{gaps[worst]:,}: {needed - held:,} values would be missing",
        )
    return replace(
        table,
        values=_spread(table.values, places),
        past=_spread(table.past, places),
        future=_spread(table.future, places),
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


def _spread(arrays: Sequence[Floats], places: Sequence[Integers]) -> list[Floats]:
    """Arrays [T] or [T, n] with their timesteps at the places of each; shared ones stay shared."""
    spread = {}
    for array, place in _distinct(arrays, places):
        spread[id(array)] = np.full((int(place[-1]) + 1, *array.shape[1:]), np.nan)
        spread[id(array)][place] = array
    return [spread[id(array)] for array in arrays]


def _distinct(
    arrays: Sequence[Floats], places: Sequence[Integers]
) -> Iterable[tuple[Floats, Integers]]:
    """Each array with its places once: the targets of one table share what stands beside them."""
    return {id(array): (array, place) for array, place in zip(arrays, places, strict=True)}.values()
