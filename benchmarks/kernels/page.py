"""The rows of a run as a Markdown page: a table for each section, then what had to be reached."""

from collections.abc import Iterable

from benchmarks.kernels import ours, targets
from benchmarks.kernels.disturbance import Disturbance
from benchmarks.kernels.machine import Machine
from benchmarks.kernels.measure import Row

TITLES = {
    "generation": "Generation at batch 1, microseconds per step",
    "streams": "Generation, many streams, tokens per second",
    "sequences": "Whole sequences: BiLSTM 2x256 over sentences",
    "forecasting": "Whole sequences: LSTM 2x128, context 168, horizon 24",
    "training": "Training, tokens per second (forward, backward, update)",
    "accuracy": "What a precision costs a trained network",
    "waiting": "Waiting threads: milliseconds of a training step of text generation 2x256",
    "jobs": "The product's three jobs, before and after",
}
EXPLAINED = {
    "generation": "S: vocabulary 256, embedding 256, LSTM 2x512. L: vocabulary 10,000, embedding "
    "400, LSTM 3x1150. T1, T2: threads. Every engine takes the best token and goes on from it; "
    "unless said otherwise Python asks for every token.",
    "streams": "The number is how many streams step together.",
    "sequences": "512 sentences of log-normal lengths, mean 38 tokens, longest 246 (a quick run: "
    "the first 128).",
    "forecasting": "8 features in, 24 values out of the last state.",
    "training": "Adam (SGD for 3x1150, whose vocabulary is 33,000 and shared with the output), "
    "gradient clipping. nn.LSTM on ragged sentences: padded, in batches of like length.",
    "accuracy": "A 2x512 byte network, trained in this run on the sources of Python's library; "
    "judged on what it has not read, against `rnn.cells` in float64. An error is relative to the "
    "largest score.",
    "waiting": "OMP_WAIT_POLICY: active threads spin while they wait, passive ones sleep.",
    "jobs": "Submitted over HTTP with task and data set alone, one seed; M4 Hourly, SST-2 and "
    "tinyshakespeare as in docs/first-run.md. Steps per second are the pace between reported "
    "steps (bracket: the 5th and 95th of 100), times are of whole requests.",
}
# What the ratios in a section's cells are against: the first that was measured.
PEERS = {
    "generation": ("nn.LSTM, oneDNN on",),
    "streams": ("nn.LSTM, oneDNN on",),
    "sequences": ("nn.LSTM packed", "nn.LSTM"),
    "forecasting": ("nn.LSTM, oneDNN on",),
    "training": ("nn.LSTM f32",),
    "waiting": ("nn.LSTM f32, 2 threads, active", "nn.LSTM f32, 1 threads, active"),
    "jobs": ("torch alone (REPRISE_KERNELS=off)",),
}


def render(machine: Machine, rows: list[Row], disturbance: dict[str, Disturbance], how: str) -> str:
    """The whole page."""
    parts = [_head(machine, disturbance, how)]
    for section, title in TITLES.items():
        here = [row for row in rows if row.section == section]
        if not here:
            continue
        parts += [f"## {title}", EXPLAINED[section]]
        peers = PEERS.get(section, ())
        if peers:
            parts[-1] += f" Ratios: times as fast as {' or '.join(peers)}."
        places = [found for place, found in disturbance.items() if section == place.split()[0]]
        if section != "accuracy" and not all(found.bearable for found in places):
            parts.append("**Disturbed: other processes took a part of the processor meanwhile.**")
        parts += [_table(group, peers) for group in _groups(here)]
        notes = _notes(here)
        if notes:
            parts.append(notes)
        verdicts = targets.judge(here, section)
        if verdicts:
            parts.append(_verdicts(verdicts))
    return "\n\n".join(parts) + "\n"


def _head(machine: Machine, disturbance: dict[str, Disturbance], how: str) -> str:
    lines = [
        "# Native kernels against their peers",
        "",
        f"Made by `python -m benchmarks.kernels`{how}. Figures are medians, with the lowest and "
        "highest repetition in brackets. The engines of one column were measured in one process, "
        "in turns.",
        "",
        f"- Processor: {machine.processor}, {machine.cores} cores, {', '.join(machine.flags)}",
        f"- Software: {machine.software}; {machine.compiler}",
        f"- Kernels: {ours.status()}",
        *(f"- Measured {place}: {found}" for place, found in disturbance.items()),
        "",
        f"The native figures that targets name were taken on another machine: "
        f"{targets.DESIGN_MACHINE}.",
    ]
    if machine.peaks:
        lines += ["", "| threads | f32 GFLOP/s | bf16 GFLOP/s | int8 GOP/s |", "| --- " * 4 + "|"]
        for threads, peak in machine.peaks.items():
            shown = " | ".join(_number(peak[kind]) for kind in ("f32", "bf16", "int8"))
            lines.append(f"| {threads} | {shown} |")
        counts = list(machine.peaks)
        heads = " | ".join(f"GB/s, {count} thread" + "s" * (count != "1") for count in counts)
        lines += ["", f"| read from KiB | {heads} |", "| --- " * (1 + len(counts)) + "|"]
        for read in machine.reads:
            shown = " | ".join(_number(read[count]) for count in counts)
            lines.append(f"| {read['kib']:,} | {shown} |")
    return "\n".join(lines)


def _groups(rows: list[Row]) -> Iterable[list[Row]]:
    """Many streams get a table for each shape, training one for each work (their engines differ),
    jobs one for each job."""
    keys: dict[str, list[Row]] = {}
    for row in rows:
        key = {
            "streams": row.work.split()[0],
            "training": row.work,
            "jobs": row.work.split(":")[0],
        }.get(row.section, "")
        keys.setdefault(key, []).append(row)
    return keys.values()


def _table(rows: list[Row], peers: tuple[str, ...]) -> str:
    works = list(dict.fromkeys(row.work for row in rows))
    engines = list(dict.fromkeys(row.engine for row in rows))
    places = {(row.engine, row.work): row for row in rows}
    units = {row.work: row.unit for row in rows if row.unit != "1"}
    heads = [f"{work} ({units[work]})" if work in units else work for work in works]
    lines = [f"| | {' | '.join(heads)} |", "| --- " * (1 + len(works)) + "|"]
    for engine in engines:
        cells = []
        for work in works:
            row = places.get((engine, work))
            peer = next((places[name, work] for name in peers if (name, work) in places), None)
            cells.append(_cell(row, peer))
        name = f"**{engine}**" if engine.startswith("ours") else engine
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Row | None, peer: Row | None) -> str:
    if row is None:
        return ""
    if row.median is None:
        return "absent"
    shown = _number(row.median)
    if row.low is not None and row.high is not None:
        shown += f" ({_number(row.low)}..{_number(row.high)})"
    if peer is not None and peer.median and peer is not row and row.low is not None:
        shown += f" {_times(row.speed_against(peer.median))}"
    return shown


def _notes(rows: list[Row]) -> str:
    """Each remark once, with the works that it is about."""
    places: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.note:
            places.setdefault((row.engine, row.note), []).append(row.work)
    full = "first 12 of 12 tokens as torch's"
    lines = [
        f"- {engine} at {'; '.join(works)}: {note}"
        for (engine, note), works in places.items()
        if note != full
    ]
    if any(note == full for _, note in places):
        lines.append(f"- All others where tokens are drawn: {full}")
    return "\n".join(lines)


def _verdicts(verdicts: list[targets.Verdict]) -> str:
    lines = ["| target | work | engine | figure | times | |", "| --- " * 6 + "|"]
    for verdict in verdicts:
        figure = "absent" if verdict.figure is None else _number(verdict.figure)
        times = "" if verdict.times is None else _times(verdict.times)
        met = {True: "met", False: "**missed**", None: "not measured"}[verdict.met]
        target = verdict.target
        lines.append(
            f"| {target.wanted} | {target.work} | {verdict.engine} | {figure} | {times} | {met} |"
        )
    return "\n".join(lines)


def _times(times: float) -> str:
    return f"{times:.0f}x" if times >= 20 else f"{times:.2g}x" if times < 10 else f"{times:.1f}x"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) < 0.01:
        return f"{value:.1e}"
    if abs(value) < 10:
        return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"
    return f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
