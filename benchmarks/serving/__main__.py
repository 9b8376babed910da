"""Measures the service over HTTP beside its peers, and writes the tables as Markdown.

    .venv/bin/python -m benchmarks.serving --peers-in .peers --keep serving.json --out page.md
    .venv/bin/python -m benchmarks.serving --only sentiment --peers mosec,litserve --seconds 3
    .venv/bin/python -m benchmarks.serving --page --keep serving.json --out page.md

A service of its own is started and trains its networks for a moment; peers are installed into an
environment of their own, once, and run one after the other. Nothing else should want the processor
meanwhile.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import httpx

from benchmarks.kernels.measure import say
from benchmarks.quality.rows import Place
from benchmarks.service import own_service
from benchmarks.serving import answers, generation, watch
from benchmarks.serving.bench import Bench
from benchmarks.serving.candidates import PEERS
from benchmarks.serving.environment import TORCH_INDEX, prepared, versions
from benchmarks.serving.generator import generator
from benchmarks.serving.networks import trained, written_for_peers
from benchmarks.serving.page import render
from benchmarks.serving.replicas import replicas
from benchmarks.serving.rows import Kept, Row, Section
from benchmarks.serving.sessions import sessions

# Each section with the networks that it asks.
SECTIONS: dict[str, tuple[Callable[[Bench], list[Row]], tuple[str, ...]]] = {
    "generator": (generator, ()),
    "streams": (generation.streams, ("generation",)),
    "words": (generation.words, ("words",)),
    "prefixes": (generation.prefixes, ("generation",)),
    "sentiment": (answers.sentiment, ("sentiment",)),
    "forecasts": (answers.forecasts, ("forecasts",)),
    "sessions": (sessions, ("generation", "forecasts")),
    "replicas": (replicas, ("generation",)),
}
# Above what a section asks at once: these are limits of safety, not of speed.
LIMITS = {
    "REPRISE_REQUESTS_PER_MINUTE": "100000000",
    "REPRISE_MAX_CONCURRENT_PREDICTIONS": "512",
    "REPRISE_MAX_DECODE_SLOTS": "256",
    "REPRISE_MAX_PROMPT_TOKENS": "131072",
    "REPRISE_MAX_TEXT_CHARS": "131072",
}


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # servers are stopped first
    kept = Kept.read(options.keep)
    if options.only:
        python = None
        if options.peers:
            python = prepared(options.peers_in, options.torch_index)
        kept.software = _software(python, options.peers)
        _measure(options, kept, python)
    text = render(kept)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def _measure(options: argparse.Namespace, kept: Kept, python: Path | None) -> None:
    """Each section is kept as soon as it is measured."""
    tasks = list(dict.fromkeys(task for name in options.only for task in SECTIONS[name][1]))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="reprise-serving-")))
        with watch.pinned(options.server_cores):
            service = stack.enter_context(
                own_service(workers=1, REPRISE_INFERENCE_THREADS=str(options.threads), **LIMITS)
            )
        models = folder / "models"
        precisions = trained(service, options.data, tasks, models)
        bench = Bench(
            service,
            options.data,
            models,
            folder / "weights",
            python,
            options.peers,
            options.threads,
            options.seconds,
            options.warm_up,
            options.repeats,
            precisions,
            options.server_cores,
            options.load_cores,
        )
        for task in tasks:
            written_for_peers(bench.models, task, bench.weights)
        watch.settle(service.pid)
        for name in options.only:
            say(f"{name}:")
            try:
                kept.sections[name] = _section(bench, name)
            except (RuntimeError, httpx.HTTPError, subprocess.CalledProcessError) as error:
                say(f"  {type(error).__name__}: {error}")
            kept.write(options.keep)


def _section(bench: Bench, name: str) -> Section:
    bench.load = 0.0
    before = watch.so_far()
    rows = SECTIONS[name][0](bench)
    taken = watch.so_far() - before
    say(f"  {taken}")
    others = None if taken.others is None else (taken.others + taken.stolen) / taken.wall
    return Section(Place.here("cpu"), bench.threads, bench.seconds, others, bench.load, rows)


def _software(python: Path | None, peers: list[str]) -> dict[str, str]:
    """Versions of what is measured; torch's is the same on both sides."""
    found = {"Python": platform.python_version(), "torch": version("torch")}
    if python is not None:
        packages = dict.fromkeys(name for peer in peers for name in PEERS[peer].packages)
        found |= versions(python, list(packages))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=str(__doc__).splitlines()[0]
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", type=_names(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--page", action="store_true", help="measures nothing, writes the page")
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help="none: ''")
    parser.add_argument(
        "--peers-in",
        type=Path,
        default=Path(gettempdir(), "reprise-peers"),
        help="the environment that peers are installed into, and found in again",
    )
    parser.add_argument(
        "--torch-index", default=TORCH_INDEX, help="of torch's CPU builds; '': pip's own"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each figure")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before each figure")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each candidate")
    parser.add_argument("--threads", type=int, default=cores, help="of each candidate")
    parser.add_argument("--server-cores", type=_cores, default=(), help="such as 0,1; else all")
    parser.add_argument("--load-cores", type=_cores, default=(), help="such as 2; else all")
    parser.add_argument("--keep", type=Path, help="a JSON file of sections, measured one by one")
    parser.add_argument("--out", type=Path, help="where the page goes")
    options = parser.parse_args()
    if options.page:
        options.only = []
    return options


def _names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}; known: {', '.join(known)}")
        return found

    return names


def _cores(text: str) -> tuple[int, ...]:
    return tuple(int(core) for core in text.split(",") if core)


if __name__ == "__main__":
    main()
