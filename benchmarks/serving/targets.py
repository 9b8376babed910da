"""What has to be reached, judged on the figures of one run."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.serving.answers import BARE
from benchmarks.serving.candidates import OURS, PEERS, as_chosen
from benchmarks.serving.rows import Section, times_as_good
from benchmarks.serving.sessions import KINDS, LENGTHS, STEP, Kind, work_of

OVER_BARE_MS = 0.6
FLAT = 1.5  # how many times the shortest history's p50 the longest one's may be


@dataclass(frozen=True)
class Target:
    """A figure of a section, and whether it is good enough.

    Attributes:
        found: None where something that it needs was not measured.
    """

    section: str
    wanted: str
    found: Callable[[Section], float | None]
    met: Callable[[float], bool]


def _figure(section: Section, work: str, name: str, candidate: str = OURS) -> float | None:
    row = section.row(work, candidate)
    return None if row is None else row.figure(name)


def _at_least(section: str, work: str, name: str, bound: float) -> Target:
    return Target(
        section,
        f"{work}: at least {bound:,.0f} {name}",
        lambda found: _figure(found, work, name),
        lambda value: value >= bound,
    )


def _under(section: str, work: str, name: str, bound: float, candidate: str = OURS) -> Target:
    return Target(
        section,
        f"{work}: {name} under {bound:g}",
        lambda found: _figure(found, work, name, candidate),
        lambda value: value < bound,
    )


def _times(
    section: str, work: str, name: str, peer: str, factor: float, *, in_fewer_bits: bool = False
) -> Target:
    title = PEERS[peer].title
    candidates = (as_chosen("int8"), as_chosen("bfloat16")) if in_fewer_bits else (OURS,)

    def found(section: Section) -> float | None:
        measured = (_figure(section, work, name, candidate) for candidate in candidates)
        ours, theirs = next(filter(None, measured), None), _figure(section, work, name, title)
        return None if not ours or not theirs else times_as_good(name, ours, theirs)

    narrow = ", as it chose" if in_fewer_bits else ""
    return Target(
        section,
        f"{work}: {factor:g} times as good as {title} in {name}{narrow}",
        found,
        lambda times: times >= factor,
    )


def _over_bare(section: str) -> Target:
    def found(section: Section) -> float | None:
        whole = _figure(section, "1 client", "p50 ms")
        bare = _figure(section, "1 client", "p50 ms", BARE)
        return None if whole is None or bare is None else whole - bare

    return Target(
        section,
        f"1 client: ms at p50 over the predictor alone under {OVER_BARE_MS}",
        found,
        lambda value: value < OVER_BARE_MS,
    )


def _flat(kind: Kind) -> Target:
    def found(section: Section) -> float | None:
        first, last = (
            _figure(section, work_of(kind, length), "p50 ms", STEP)
            for length in (LENGTHS[0], LENGTHS[-1])
        )
        return None if not first or not last else last / first

    return Target(
        "sessions",
        f"p50 of a step {work_of(kind, LENGTHS[-1])} at most {FLAT} times that after {LENGTHS[0]}",
        found,
        lambda value: value <= FLAT,
    )


TARGETS = (
    _at_least("streams", "64 streams", "tokens/s", 25_000),
    _under("streams", "64 streams", "first p50 ms", 10),
    _under("streams", "64 streams", "gap p99 ms", 5),
    _times("streams", "64 streams", "tokens/s", "litserve", 12),
    _times("streams", "64 streams", "tokens/s", "fastapi", 10),
    _times("sentiment", "64 clients", "requests/s", "mosec", 2),
    _times("sentiment", "64 clients", "requests/s", "litserve", 3),
    *(
        _times("sentiment", "64 clients", "requests/s", peer, factor, in_fewer_bits=True)
        for peer, factor in (("mosec", 3.5), ("litserve", 5), ("fastapi", 10))
    ),
    *(
        _times("sentiment", "64 clients", "p99 ms", peer, 1)
        for peer in ("mosec", "litserve", "ray", "bentoml", "fastapi", "onnx")
    ),
    _over_bare("sentiment"),
    _over_bare("forecasts"),
    _at_least("forecasts", "1,000 series in one request", "series/s", 4_000),
    *(
        _under("sessions", work_of(kind, length), "p50 ms", 1, STEP)
        for kind in KINDS
        for length in LENGTHS
    ),
    *map(_flat, KINDS),
)
