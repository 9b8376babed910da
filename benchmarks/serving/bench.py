"""Cells of a section measured candidate by candidate, in an order that alternates."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.kernels.measure import say
from benchmarks.service import Service
from benchmarks.serving.candidates import (
    OURS,
    PEERS,
    Endpoint,
    NotServingError,
    Peer,
    as_chosen,
    ours,
    serving,
)
from benchmarks.serving.load import Asked, Result, fire
from benchmarks.serving.networks import chosen_name
from benchmarks.serving.rows import Row
from benchmarks.serving.watch import so_far, tree_seconds

CHOSEN = "chosen"  # the service again, with the networks in the precision that it chose
CHECKED = 8  # requests whose answers must be ours before anything is timed


@dataclass
class Bench:
    """What sections measure with.

    Attributes:
        models: folders of the product's own versions, by task.
        weights: the same for peers.
        python: of the peers; None: none are wanted.
        seconds, warm_up_seconds: of each cell.
        precisions: those that the product chose, by task.
        load: the largest share of a core that the load generator took so far.
    """

    service: Service
    data: Path
    models: Path
    weights: Path
    python: Path | None
    peers: Sequence[str]
    threads: int
    seconds: float
    warm_up_seconds: float
    repeats: int
    precisions: Mapping[str, str]
    server_cores: tuple[int, ...] = ()
    load_cores: tuple[int, ...] = ()
    load: float = 0.0

    def fire(
        self, endpoint: Endpoint, bodies: Sequence[Any], connections: int, **stream: Any
    ) -> Result:
        """Load on an endpoint; `stream` has what `Asked` knows of streams."""
        before, spent = so_far(), tree_seconds(endpoint.pid)
        result = fire(
            Asked(
                endpoint.host,
                endpoint.port,
                endpoint.path,
                endpoint.headers,
                [json.dumps(body) for body in bodies],
                connections,
                self.warm_up_seconds,
                self.seconds,
                cores=self.load_cores,
                **stream,
            )
        )
        self.load = max(self.load, result.cores)
        taken = so_far() - before
        return replace(
            result,
            others=((taken.others or 0) + taken.stolen) / taken.wall,
            server=tree_seconds(endpoint.pid) - spent,
        )


@dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        ours, theirs: the same requests as we and as peers want them.
        unit, items: what is counted, and how many of it a request has.
        tokens: of each stream; 0: no streams.
        fresh: the text of our requests that shall begin as none before did, so that nothing which
            was kept of an earlier one answers it; empty: none.
    """

    work: str
    connections: int
    ours: Sequence[Any]
    theirs: Sequence[Any]
    unit: str = "requests"
    items: int = 1
    tokens: int = 0
    fresh: str = ""

    def chosen(self, task: str) -> "Cell":
        """Asks the model whose precision the product chose."""
        return replace(self, ours=[{**body, "model": chosen_name(task)} for body in self.ours])

    def measured(self, bench: Bench, endpoint: Endpoint, *, own: bool) -> Result:
        bodies = self.ours if own else self.theirs
        if own and self.fresh:
            bodies = [{**body, self.fresh: begun_anew(body[self.fresh])} for body in bodies]
        if not self.tokens:
            return bench.fire(endpoint, bodies, self.connections, least=3)
        return bench.fire(
            endpoint,
            bodies,
            self.connections,
            least=self.connections,
            marker=endpoint.marker,
            tokens=self.tokens,
        )

    def figures(self, result: Result) -> dict[str, float]:
        """Of what was answered; errors are counted beside it."""
        found: dict[str, float] = {"errors": sum(result.errors.values()), "others": result.others}
        named = {"": result.latency}
        if self.tokens:
            found["tokens/s"] = result.tokens / result.seconds
            named = {"first ": result.first, "gap ": result.gap}
        else:
            found[f"{self.unit}/s"] = result.answered * self.items / result.seconds
        if done := result.all_tokens if self.tokens else result.all_answered:
            found["processor ms"] = 1e3 * result.server / done
        for name, times in named.items():
            if times is not None:
                found |= {f"{name}p50 ms": times.p50, f"{name}p99 ms": times.p99}
        return found


def begun_anew(text: str) -> str:
    """As long as before, with a beginning that is nobody else's."""
    return (secrets.token_hex(8) + text[16:])[: len(text)]


@dataclass
class Table:
    """Rows that fill up turn by turn."""

    turns: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=dict)
    notes: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, work: str, candidate: str, figures: dict[str, float], note: str = "") -> None:
        self.turns.setdefault((work, candidate), []).append(figures)
        if note:
            self.notes[work, candidate] = note
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        say(f"    {candidate}, {work}: {shown} {note}".rstrip())

    def miss(self, works: Sequence[str], candidate: str, note: str) -> None:
        """No figures, and why; what earlier turns showed stays."""
        say(f"    {candidate}: {note}")
        for work in works:
            self.turns.setdefault((work, candidate), [])
            self.notes[work, candidate] = note

    def rows(self) -> list[Row]:
        return [
            Row(work, candidate, turns, self.notes.get((work, candidate), ""))
            for (work, candidate), turns in self.turns.items()
        ]


# What differs between our answers and a peer's to the same requests; empty: nothing.
Same = Callable[[list[httpx.Response], list[httpx.Response]], str]


def side_by_side(
    bench: Bench, task: str, path: str, cells: Sequence[Cell], same: Same
) -> list[Row]:
    """Every cell with the service and with each peer of the task, in turns."""
    table = Table()
    own = ours(bench.service, path)
    wanted = [own.ask(body) for body in cells[0].ours[:CHECKED]]
    for answer in wanted:
        answer.raise_for_status()
    out: set[str] = set()
    chosen = [CHOSEN] if bench.precisions[task] != "float32" else []
    for name, turn in in_turns([OURS, *chosen, *_peers_of(bench, task)], bench.repeats):
        if name == OURS:
            for cell in cells:
                _measure(bench, table, cell, own, OURS)
            continue
        if name == CHOSEN:
            title = as_chosen(bench.precisions[task])
            for cell in cells:
                _measure(bench, table, cell.chosen(task), own, title)
            continue
        peer = PEERS[name]
        if name in out:
            continue
        try:
            with _served(bench, peer, task, cells[0].theirs[0]) as endpoint:
                if turn == 0:
                    _check(endpoint, cells[0].theirs[:CHECKED], wanted, same)
                for cell in cells:
                    _measure(bench, table, cell, endpoint, peer.title)
        except NotServingError as error:
            out.add(name)
            table.miss([cell.work for cell in cells], peer.title, str(error))
    return table.rows()


def in_turns(names: Sequence[str], repeats: int) -> Iterator[tuple[str, int]]:
    """Each name once in every turn, forwards and backwards, with the number of the turn."""
    for turn in range(repeats):
        for name in names if turn % 2 == 0 else reversed(names):
            yield name, turn


def _peers_of(bench: Bench, task: str) -> list[str]:
    if bench.python is None:
        return []
    return [name for name in bench.peers if task in PEERS[name].tasks]


def _served(bench: Bench, peer: Peer, task: str, first: Any) -> AbstractContextManager[Endpoint]:
    assert bench.python is not None
    return serving(
        peer,
        task,
        first,
        python=bench.python,
        weights=bench.weights,
        threads=bench.threads,
        cores=bench.server_cores,
    )


def _check(
    endpoint: Endpoint, bodies: Sequence[Any], wanted: list[httpx.Response], same: Same
) -> None:
    found = [endpoint.ask(body) for body in bodies]
    bad = [answer.status_code for answer in found if answer.status_code != 200]
    difference = f"status {bad[0]} when asked once." if bad else same(wanted, found)
    if difference:
        raise NotServingError(difference)


def _measure(bench: Bench, table: Table, cell: Cell, endpoint: Endpoint, title: str) -> None:
    result = cell.measured(bench, endpoint, own=title.startswith(OURS))
    table.add(cell.work, title, cell.figures(result), of_errors(result))


def of_errors(result: Result) -> str:
    """For a row's note."""
    if not result.errors:
        return ""
    shown = ", ".join(f"{name}: {count:,}" for name, count in sorted(result.errors.items()))
    return f"errors ({shown}) beside {result.answered:,} answers"
