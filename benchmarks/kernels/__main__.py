"""Measures the native kernels and their peers, and writes the tables as Markdown.

    .venv/bin/python -m pip install -c constraints.txt -e '.[benchmark]'
    .venv/bin/python -m benchmarks.kernels                    # everything, about 45 minutes
    .venv/bin/python -m benchmarks.kernels --quick            # a few minutes, coarse
    .venv/bin/python -m benchmarks.kernels --only generation --threads 2

Every section runs in a process of its own for each number of threads, since thread pools do not
like to change their size. Nothing else should want the processor meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.kernels import limits, machine, page
from benchmarks.kernels.disturbance import Disturbance
from benchmarks.kernels.measure import Row, say

RESULTS = Path(__file__).resolve().parents[1] / "results" / "kernels.md"
# Section: (module, function, whether it is measured for every number of threads).
SECTIONS = {
    "generation": ("generation", "single", True),
    "streams": ("generation", "streams", False),
    "sequences": ("sequences", "classification", False),
    "forecasting": ("sequences", "forecasting", True),
    "training": ("training", "training", False),
    "accuracy": ("accuracy", "accuracy", False),
    "waiting": ("waiting", "waiting", False),
    "jobs": ("jobs", "jobs", False),
}
SECTION_TIMEOUT_SECONDS = 3_600


def main() -> None:
    options = _options()
    compile_too = not options.quick if options.compile is None else options.compile
    if options.worker:
        _work(options.worker, options.threads[0], options.quick, compile_too, options.level)
        return
    found = machine.look(quick=options.quick)
    rows, disturbance = _kept(options.keep)
    for section, (_, _, for_every_count) in SECTIONS.items():
        if options.only and section not in options.only:
            continue
        for threads in options.threads if for_every_count else options.threads[-1:]:
            before = Disturbance.so_far()
            new = _in_process(section, threads, options)
            place = f"{section} T{threads}" if for_every_count else section
            disturbance[place] = Disturbance.so_far() - before
            say(f"{place}: {disturbance[place]}")
            measured = {(row.section, row.work) for row in new}
            rows = [row for row in rows if (row.section, row.work) not in measured] + new
            _keep(options.keep, rows, disturbance)
    text = page.render(found, rows + limits.rows(found, rows), disturbance, _how(options))
    print(text)
    out = options.out
    if out is None and not options.quick and not options.only and options.level == "auto":
        out = RESULTS
    if out is not None:
        out.write_text(text, encoding="utf-8")
        say(f"written to {out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions, fewer shapes")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be given again")
    parser.add_argument(
        "--threads",
        type=lambda text: [int(count) for count in text.split(",")],
        default=sorted({1, min(2, len(os.sched_getaffinity(0)))}),
        help="for example 1,2; what is not measured for all takes the last",
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="torch.compile too, which takes minutes to build; by default unless --quick",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        help="a JSON file of rows: what is measured now takes the place of what it holds of the "
        "same work, and the page shows all; so the sections can be measured one by one",
    )
    parser.add_argument("--level", default="auto", help="of our kernels: auto, avx512, avx2, plain")
    parser.add_argument("--out", type=Path, help=f"by default, after everything: {RESULTS.name}")
    parser.add_argument("--worker", choices=SECTIONS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _how(options: argparse.Namespace) -> str:
    said = [name for name in ("quick",) if getattr(options, name)]
    if options.keep is not None:
        said.append("section by section, with --keep")
    else:
        said += [f"only {name}" for name in options.only or ()]
    if options.level != "auto":
        said.append(f"our kernels at the level {options.level}")
    return f" ({', '.join(said)})" if said else ""


def _kept(path: Path | None) -> tuple[list[Row], dict[str, Disturbance]]:
    if path is None or not path.exists():
        return [], {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**values) for values in kept["rows"]]
    return rows, {place: Disturbance(**values) for place, values in kept["disturbance"].items()}


def _keep(path: Path | None, rows: list[Row], disturbance: dict[str, Disturbance]) -> None:
    if path is not None:
        kept = {
            "rows": [row.as_json() for row in rows],
            "disturbance": {place: asdict(found) for place, found in disturbance.items()},
        }
        path.write_text(json.dumps(kept), encoding="utf-8")


def _in_process(section: str, threads: int, options: argparse.Namespace) -> list[Row]:
    command = [sys.executable, "-m", "benchmarks.kernels", "--worker", section]
    command += ["--threads", str(threads), "--level", options.level]
    if options.quick:
        command.append("--quick")
    if options.compile is not None:
        command.append("--compile" if options.compile else "--no-compile")
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            text=True,
            timeout=SECTION_TIMEOUT_SECONDS,
            check=True,
            cwd=RESULTS.parents[2],
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        say(f"{section} with {threads} threads: {error}")
        return []
    return [Row(**values) for values in json.loads(done.stdout.splitlines()[-1])]


def _work(section: str, threads: int, quick: bool, compile_too: bool, level: str) -> None:
    """Prints the rows of one section as JSON."""
    import torch

    from benchmarks.kernels import ours

    # About graphics processors that are not there.
    warnings.filterwarnings("ignore", message="TF32 acceleration")
    torch.set_num_threads(threads)
    ours.select(level)
    module, function, _ = SECTIONS[section]
    measure: Callable[..., list[Row]] = getattr(
        import_module(f"benchmarks.kernels.{module}"), function
    )
    rows = measure(threads, quick=quick, compile_too=compile_too)
    values: list[dict[str, Any]] = [row.as_json() for row in rows]
    print(json.dumps(values))


if __name__ == "__main__":
    main()
