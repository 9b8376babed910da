"""The kept sections as a Markdown page."""

from dataclasses import dataclass

from benchmarks.kernels.disturbance import BEARABLE_CORES
from benchmarks.serving.candidates import OURS
from benchmarks.serving.rows import Kept, Row, Section, times_as_good
from benchmarks.serving.sessions import STEP
from benchmarks.serving.targets import TARGETS

BUSY = 0.9  # share of a core from which the load generator may be what is measured


@dataclass(frozen=True)
class Shown:
    """How a section is shown; ratios say how good `base` is beside others in the first figure."""

    title: str
    explained: str
    figures: tuple[str, ...]
    base: str = OURS


COST = "processor ms"
STREAMED = ("tokens/s", "first p50 ms", "first p99 ms", "gap p50 ms", "gap p99 ms", COST)
SHOWN = {
    "generator": Shown(
        "The load generator alone",
        "Against a server that answers the same bytes to everything.",
        ("requests/s", "tokens/s", "p50 ms", "p99 ms"),
    ),
    "streams": Shown(
        "Generation, streamed",
        "Byte vocabulary, embedding 256, LSTM 2x512; 200 tokens a stream as server-sent events, "
        "always the likeliest. A gap is between two arrivals at the client's socket; tokens that "
        "arrive together count once.",
        STREAMED,
    ),
    "words": Shown(
        "Generation by a large network, streamed",
        "The 10,000 words of the Penn Treebank, embedding 400, LSTM 3x1150; 50 tokens a stream, "
        "else as above.",
        STREAMED,
    ),
    "sentiment": Shown(
        "Sentiment",
        "BiLSTM 2x256, one sentence of SST-2 a request, of the lengths that they have.",
        ("requests/s", "p50 ms", "p99 ms", COST),
    ),
    "forecasts": Shown(
        "Forecasts",
        "LSTM 2x128, context 168, horizon 24, hourly series of M4.",
        ("series/s", "p50 ms", "p99 ms", COST),
    ),
    "sessions": Shown(
        "A step of a session",
        "One more byte of a text and the likeliest next one, or one more value of a series and its "
        "next 24: by a session that has read the rest, or by a request with all of it.",
        ("p50 ms", "p99 ms", COST),
        base=STEP,
    ),
    "prefixes": Shown(
        "The first token after a long prompt",
        "The byte network of the first section of generation; one client.",
        ("first p50 ms", "first p99 ms"),
    ),
    "replicas": Shown(
        "Two replicas of the API",
        "Sessions that one of them began go on on the other, then the first is killed.",
        ("sessions", "went on", "as alone", "went on after the kill", "p50 ms", "p99 ms"),
    ),
}


def render(kept: Kept) -> str:
    """The whole page, of what was measured and nothing else."""
    software = ", ".join(f"{name} {version}" for name, version in kept.software.items())
    parts = [
        "# Serving, beside other ways to serve",
        "Made by `python -m benchmarks.serving`. Candidates of a section serve the same weights in "
        "float32, and gave the same answers before they were timed; a second row of ours has the "
        "same network in the precision that it was published with by itself, after its loss on "
        "held-out examples was compared with that in float32. They were measured in one run, "
        "in turns, the load from a process of its own on the same machine: each client has one "
        "request on its way and sends the next when it is answered. Figures are medians of the "
        "turns; in brackets the lowest and the highest. Processor ms: of all processes of a "
        "server, for an answer or for a token of a stream. Batches of peers: at most 64 requests, "
        "gathered for 5 ms. Our limits are above the defaults, or they would be what is measured: "
        "requests a minute, predictions in flight, decode slots, lengths of prompts and texts. "
        f"Software: {software}.",
    ]
    for name, shown in SHOWN.items():
        section = kept.sections.get(name)
        if section is not None:
            parts += [f"## {shown.title}", shown.explained, _measured(section)]
            parts += [_table(section, shown), _notes(section), _verdicts(name, section)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _measured(section: Section) -> str:
    place = section.place
    cores = "1 core" if place.cores == 1 else f"{place.cores} cores"
    said = (
        f"{place.machine}, {cores} for servers and load; {section.threads} of torch's and of our "
        f"threads; {section.seconds:g} s a figure; commit {place.commit}; {place.day}."
    )
    if section.others is None:
        said += " What else ran is unknown."
    elif section.others > BEARABLE_CORES:
        said += f" **Disturbed: others took {section.others:.2f} of these cores meanwhile.**"
    if section.load > BUSY:
        said += f" The load generator took up to {section.load:.2f} of a core."
    return said


def _table(section: Section, shown: Shown) -> str:
    names = [
        name for name in shown.figures if any(row.figure(name) is not None for row in section.rows)
    ]
    disturbed = section.others is not None and section.others > BEARABLE_CORES
    if disturbed and any("others" in turn for row in section.rows for turn in row.turns):
        names.append("others")
    compared = any(row.candidate == shown.base for row in section.rows) and names
    heads = ["", "", *names, *([f"{shown.base} is"] if compared else [])]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    work = ""
    for row in _by_work(section.rows):
        title = f"**{row.candidate}**" if row.candidate == shown.base else row.candidate
        cells = [row.work if row.work != work else "", title, *(_cell(row, name) for name in names)]
        if compared:
            cells.append(_ratio(section, shown.base, row, names[0]))
        lines.append(f"| {' | '.join(cells)} |")
        work = row.work
    return "\n".join(lines)


def _by_work(rows: list[Row]) -> list[Row]:
    works = list(dict.fromkeys(row.work for row in rows))
    return sorted(rows, key=lambda row: works.index(row.work))


def _cell(row: Row, name: str) -> str:
    values = [turn[name] for turn in row.turns if name in turn]
    value = row.figure(name)
    if value is None:
        return ""
    if len(values) == 1:
        return number(value)
    return f"{number(value)} ({number(min(values))}..{number(max(values))})"


def _ratio(section: Section, base: str, row: Row, name: str) -> str:
    own = section.row(row.work, base)
    if own is None or row is own:
        return ""
    one, other = own.figure(name), row.figure(name)
    if not one or not other:
        return ""
    times = times_as_good(name, one, other)
    return f"{times:.1f}x" if times >= 10 else f"{times:.2g}x"


def _notes(section: Section) -> str:
    """Each remark once, with the works that it is about."""
    places: dict[tuple[str, str], list[str]] = {}
    for row in section.rows:
        if row.note:
            places.setdefault((row.candidate, row.note), []).append(row.work)
    return "\n".join(
        f"- {candidate} at {'; '.join(works)}: {note}"
        for (candidate, note), works in places.items()
    )


def _verdicts(name: str, section: Section) -> str:
    lines = ["| to reach | found | |", "| --- " * 3 + "|"]
    for target in TARGETS:
        if target.section == name:
            found = target.found(section)
            verdict = "not measured"
            if found is not None:
                verdict = "reached" if target.met(found) else "**missed**"
            lines.append(
                f"| {target.wanted} | {'' if found is None else number(found)} | {verdict} |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def number(value: float) -> str:
    """Three digits or more, counts as they are."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.3g}"
