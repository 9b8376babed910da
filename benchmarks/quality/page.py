"""The kept rows as a Markdown page."""

import json
from statistics import median

from benchmarks.quality.catalogue import BENCHMARKS, Benchmark, Choices, Figure
from benchmarks.quality.rows import Kept, Measurement, Place

HEADS = (
    "benchmark", "figure", "to beat", "stretch", "median", "seeds", "", "minutes", "steps",
    "weights", "measured",
)  # fmt: skip


def render(kept: Kept) -> str:
    """The whole page, of what was measured and nothing else."""
    groups = kept.groups(BENCHMARKS)
    places: list[Place] = []
    for rows in groups.values():
        for row in rows:
            if row.place not in places:
                places.append(row.place)
    lines = [f"| {' | '.join(HEADS)} |", "| --- " * len(HEADS) + "|"]
    for (name, preset, device), rows in groups.items():
        lines += _lines(BENCHMARKS[name], preset, device, rows, places)
    parts = [
        "# Model quality",
        "Made by `python -m benchmarks.quality`, row by row with `--keep`. Each row is a job "
        "submitted over HTTP with task, data set, preset, seed and minutes alone, and with what "
        "is listed below the table; nothing is chosen on a test part but where a row says so. "
        "Median of the seeds, which are all shown in their order. Minutes: from submission to end, "
        "the median, and in brackets what the training was allowed: the figures at the end of a "
        "job, such as cache and dynamic evaluation, come on top. "
        + _devices({device for _, _, device in groups}),
        "\n".join(lines),
        _naive(kept),
        _choices([name for name, _, _ in groups]),
        "\n".join(f"- {_letter(n)}: {_shown(place)}" for n, place in enumerate(places)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _devices(found: set[str]) -> str:
    return "" if "cuda" in found else "Nothing was run on a GPU."


def _lines(
    benchmark: Benchmark, preset: str, device: str, rows: list[Measurement], places: list[Place]
) -> list[str]:
    lines = []
    minutes = f"{median(row.seconds for row in rows) / 60:.1f} ({rows[0].allowed_minutes:g})"
    if benchmark.pretraining:
        before = median(row.pretraining_seconds for row in rows) / 60
        minutes += f", before it {before:.1f} ({benchmark.pretraining.minutes[device]:g})"
    about = [
        minutes,
        f"{median(row.steps for row in rows):,.0f}",
        f"{rows[0].parameters:,}",
        ", ".join(dict.fromkeys(_letter(places.index(row.place)) for row in rows)),
    ]
    for index, figure in enumerate(benchmark.figures):
        values = [row.figures[figure.name] for row in rows]
        title = f"**{benchmark.title}** ({preset}, {device})" if index == 0 else ""
        cells = [
            title,
            figure.name,
            _number(figure.target_on(device)),
            _number(figure.stretch_on(device)),
            _number(median(values)),
            ", ".join(map(_number, values)),
            _verdict(figure, median(values), device),
            *(about if index == 0 else [""] * len(about)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _verdict(figure: Figure, value: float, device: str) -> str:
    return {True: "reached", False: "**missed**", None: ""}[figure.reached(value, device)]


def _naive(kept: Kept) -> str:
    """What every forecaster has to beat, computed again from the data."""
    lines = ["| seasonal naive | figure | naive | ours, median | |", "| --- " * 5 + "|"]
    for (name, preset, device), rows in kept.groups(BENCHMARKS).items():
        for figure, naive in kept.naive.get(name, {}).items():
            value = median(row.figures[figure] for row in rows)
            verdict = "beaten" if value < naive else "**not beaten**"
            title = f"{BENCHMARKS[name].title} ({preset}, {device})"
            lines.append(f"| {title} | {figure} | {naive:.4g} | {value:.4g} | {verdict} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _choices(names: list[str]) -> str:
    """What a benchmark's definition sets beside the preset."""
    lines = []
    for name in dict.fromkeys(names):
        benchmark = BENCHMARKS[name]
        if benchmark.choices:
            lines.append(f"- {benchmark.title}: {_json(benchmark.choices)}")
        if benchmark.pretraining:
            shown = _json(benchmark.pretraining.choices)
            lines.append(f"- the language model before {benchmark.title}: {shown}")
    return "\n".join(["Chosen beside the preset:", "", *lines]) if lines else ""


def _json(choices: Choices) -> str:
    return f"`{json.dumps(choices)}`"


def _shown(place: Place) -> str:
    cores = "1 core" if place.cores == 1 else f"{place.cores} cores"
    return f"{place.machine}, {cores} a job; commit {place.commit}; {place.day}"


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else str(index)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.3f}"
