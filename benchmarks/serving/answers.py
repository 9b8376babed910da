"""Sentences and series answered in one piece: sentiment, forecasts."""

from collections.abc import Sequence
from itertools import islice

import httpx
import numpy as np

from benchmarks.data import m4_hourly, sst2
from benchmarks.serving import bare
from benchmarks.serving.bench import Bench, Cell, side_by_side
from benchmarks.serving.networks import CONTEXT, SEASON
from benchmarks.serving.rows import Row

CLIENTS = (1, 64)
TOLERANCE = 1e-3  # of a probability, and of a forecast in units of its series' range
SERIES, KNOWN = 1_000, CONTEXT + SEASON  # a series of a request: its context and a season before
BARE = "the predictor alone, without HTTP"


def sentiment(bench: Bench) -> list[Row]:
    """One sentence a request, of the lengths that SST-2 has."""
    texts = [text for text, _ in sst2(bench.data, "test")]
    cells = [
        Cell(
            _clients(count),
            count,
            [{"model": "sentiment", "text": text} for text in texts],
            [{"text": text} for text in texts],
        )
        for count in CLIENTS
    ]
    rows = side_by_side(bench, "sentiment", "/sentiment", cells, same_label)
    return [*rows, _bare(bench, "sentiment", texts)]


def forecasts(bench: Bench) -> list[Row]:
    """A thousand series in one request, then one series a request."""
    series = windows(list(m4_hourly(bench.data, "train").values()), SERIES)
    single = [[values] for values in series]
    cells = [
        Cell(
            _clients(count),
            count,
            [{"model": "forecasts", "series": asked} for asked in single],
            [{"series": asked} for asked in single],
            unit="series",
        )
        for count in CLIENTS
    ]
    whole = Cell(
        f"{SERIES:,} series in one request",
        1,
        [{"model": "forecasts", "series": series}],
        [{"series": series}],
        unit="series",
        items=SERIES,
    )
    rows = side_by_side(bench, "forecasts", "/forecasts", [*cells, whole], same_forecast)
    return [*rows, _bare(bench, "forecasts", series)]


def windows(series: Sequence[Sequence[float]], count: int) -> list[list[float]]:
    """Pieces of `KNOWN` values, one of each series after the other, each a day on."""
    found = (
        list(values[start : start + KNOWN])
        for start in range(0, max(map(len, series)), SEASON)
        for values in series
        if start + KNOWN <= len(values)
    )
    return list(islice(found, count))


def same_label(ours: list[httpx.Response], theirs: list[httpx.Response]) -> str:
    for index, (our_answer, their_answer) in enumerate(zip(ours, theirs, strict=True)):
        wanted, found = our_answer.json()["results"][0], their_answer.json()
        near = abs(wanted["score"] - found["score"]) <= TOLERANCE
        if not near or wanted["label"] != found["label"]:
            return f"another answer to text {index}: {found}, not {wanted}."
    return ""


def same_forecast(ours: list[httpx.Response], theirs: list[httpx.Response]) -> str:
    for index, (our_answer, their_answer) in enumerate(zip(ours, theirs, strict=True)):
        pairs = zip(our_answer.json()["forecasts"], their_answer.json()["forecasts"], strict=True)
        for wanted, found in pairs:
            for name in ("mean", *wanted["quantiles"]):
                one, other = (
                    np.array(said["mean"] if name == "mean" else said["quantiles"][name])
                    for said in (wanted, found)
                )
                apart = np.abs(one - other).max()
                if one.shape != other.shape or apart > TOLERANCE * max(np.ptp(one), 1e-6):
                    return f"another {name} of series {index}, by {apart:.3g}."
    return ""


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


def _bare(bench: Bench, task: str, inputs: Sequence[object]) -> Row:
    """Beside one client: what is over it is HTTP's and the engine's."""
    turns = []
    for _ in range(bench.repeats):
        found = bare.measured(
            bench.models / task, inputs, threads=bench.threads, seconds=bench.seconds
        )
        turns.append({"p50 ms": found["p50"], "p99 ms": found["p99"]})
    return Row(_clients(1), BARE, turns)
