"""A step of a session, and what it spares: all of the text or the series sent again."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.data import m4_hourly, tinyshakespeare
from benchmarks.serving.bench import Bench, Table, begun_anew, of_errors
from benchmarks.serving.candidates import Endpoint, ours
from benchmarks.serving.load import Result
from benchmarks.serving.networks import HORIZON, chosen_name
from benchmarks.serving.rows import Row

LENGTHS = (10, 100, 1_000, 10_000, 100_000)
STEP, AGAIN = "a step of a session", "all of it sent again"
NO_SESSIONS = "this service has no sessions"
STEPS = 20_000  # more than are sent in the time
RESENT = 64  # requests, none like another


@dataclass(frozen=True)
class Kind:
    """What a session of a task reads.

    Attributes:
        unit: of its history.
        history: so much of it, from a place that a seed chooses.
        step: the body of a step that takes a part in and asks what comes next.
        again: the same asked at `path` without a session, with all that there is.
    """

    model: str
    unit: str
    history: Callable[[Bench, int, int], Any]
    step: Callable[[Any], dict[str, Any]]
    path: str
    again: Callable[[Any], dict[str, Any]]


def text_of(bench: Bench, length: int, seed: int) -> str:
    """So many bytes of a play, with a beginning that no other text has."""
    text = tinyshakespeare(bench.data)
    start = random.Random(seed).randrange(len(text) - length)
    return begun_anew(text[start : start + length])


def series_of(bench: Bench, length: int, seed: int) -> list[float]:
    """So many values of hourly series, one after the other."""
    found: list[float] = []
    series = list(m4_hourly(bench.data, "train").values())
    while len(found) < length:
        found += series[(seed + len(found)) % len(series)]
    return found[:length]


TEXT = Kind(
    "generation",
    "tokens",
    text_of,
    lambda text: {"text": text, "top": 1},
    "/generations",
    lambda text: {"prompt": begun_anew(text), "max_new_tokens": 1, "temperature": 0.0},
)
SERIES = Kind(
    "forecasts",
    "values",
    series_of,
    lambda values: {"values": values, "horizon": HORIZON},
    "/forecasts",
    lambda values: {"series": [values]},
)
KINDS = (TEXT, SERIES)


def sessions(bench: Bench) -> list[Row]:
    """One client; each length of history by both ways, in turns."""
    table = Table()
    for turn in range(bench.repeats):
        for kind in KINDS:
            for length in LENGTHS if turn % 2 == 0 else reversed(LENGTHS):
                known, work = kind.history(bench, length, turn), work_of(kind, length)
                _tell(table, work, STEP, _steps(bench, kind, known))
                if (precision := bench.precisions[kind.model]) != "float32":
                    chosen = replace(kind, model=chosen_name(kind.model))
                    name = f"{STEP}, {precision} as it chose"
                    _tell(table, work, name, _steps(bench, chosen, known))
                _tell(table, work, AGAIN, _again(bench, kind, known))
    return table.rows()


def work_of(kind: Kind, length: int) -> str:
    return f"after {length:,} {kind.unit}"


def begun(endpoint: Endpoint, kind: Kind, known: Any) -> str:
    """The id of a new session whose first step took in what is known."""
    answer = endpoint.ask({"model": kind.model})
    answer.raise_for_status()
    session = str(answer.json()["id"])
    first = endpoint.below(f"/{session}/steps").ask({"seq": 1, **kind.step(known)})
    first.raise_for_status()
    return session


def _steps(bench: Bench, kind: Kind, known: Any) -> Result | str:
    route = ours(bench.service, "/sessions")
    if route.ask({}).status_code == 404:
        return NO_SESSIONS
    session = begun(route, kind, known)
    bodies = []
    for seq in range(2, 2 + STEPS):
        place = seq % len(known)
        bodies.append({"seq": seq, **kind.step(known[place : place + 1])})
    return bench.fire(route.below(f"/{session}/steps"), bodies, 1, least=3)


def _again(bench: Bench, kind: Kind, known: Any) -> Result | str:
    bodies = [{"model": kind.model, **kind.again(known)} for _ in range(RESENT)]
    return bench.fire(ours(bench.service, kind.path), bodies, 1, least=3)


def _tell(table: Table, work: str, name: str, found: Result | str) -> None:
    if isinstance(found, str) or found.latency is None:
        reason = found if isinstance(found, str) else f"no answer: {json.dumps(found.errors)}"
        table.miss([work], name, reason)
    else:
        figures = {
            "p50 ms": found.latency.p50,
            "p99 ms": found.latency.p99,
            "processor ms": 1e3 * found.server / found.all_answered,
            "others": found.others,
        }
        table.add(work, name, figures, of_errors(found))
