"""Submits the presets over HTTP, judges what they publish, and writes the table.

    .venv/bin/python -m benchmarks.quality --only sst2,etth1-96 --keep rows.json --out page.md
    .venv/bin/python -m benchmarks.quality --only "" --keep rows.json --out page.md  # page alone

Without --url it starts a service of its own, in a folder that is thrown away, whose worker shares
the cores among --at-once jobs; with it, the key is read from REPRISE_API_KEY. Nothing else should
want the processor meanwhile.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.quality import page
from benchmarks.quality.catalogue import BENCHMARKS, Benchmark
from benchmarks.quality.rows import Kept, Measurement, Place
from benchmarks.service import Run, Service, service_at


def main() -> None:
    options = _options()
    kept = Kept.read(options.keep)
    if options.only:
        with service_at(options.url, workers=options.at_once) as service:
            languages: dict[tuple[str, int], Run] = {}
            for name in options.only:
                measure(service, BENCHMARKS[name], options, kept, languages)
    text = page.render(kept)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def measure(
    service: Service,
    benchmark: Benchmark,
    options: argparse.Namespace,
    kept: Kept,
    languages: dict[tuple[str, int], Run],
) -> None:
    """One job for each seed; each row is kept as soon as it is there.

    Args:
        languages: the language models that were trained so far, by name and seed.
    """
    if benchmark.naive is not None:
        kept.naive[benchmark.name] = _checked_naive(benchmark, options.data)
    dataset = service.upload(benchmark.filename, benchmark.upload(options.data))
    measured = partial(_measured, service, benchmark, dataset, options, languages)
    with ThreadPoolExecutor(options.at_once) as jobs:
        for row in jobs.map(measured, options.seeds):
            shown = json.dumps({name: round(value, 4) for name, value in row.figures.items()})
            print(f"{benchmark.name}, seed {row.seed}: {shown}", file=sys.stderr)
            kept.add(row)
            kept.write(options.keep)


def _measured(
    service: Service,
    benchmark: Benchmark,
    dataset: str,
    options: argparse.Namespace,
    languages: dict[tuple[str, int], Run],
    seed: int,
) -> Measurement:
    device = options.device

    def train(run: Run, of: str, task: str, minutes: float, choices: Any, **more: Any) -> None:
        body = {name: dict(values) for name, values in choices.items()}
        body.setdefault("training", {}).update(seed=seed, max_minutes=minutes)
        service.train(run, of, task, preset=options.preset, device=device, **body, **more)

    more: dict[str, str] = {}
    before = 0.0
    if benchmark.pretraining is not None:
        found = benchmark.pretraining
        language = languages.get((found.name, seed))
        if language is None:
            language = languages[found.name, seed] = Run(f"{found.name}-{seed}")
            texts = service.upload("texts.jsonl", found.upload(options.data))
            minutes = options.minutes or found.minutes[device]
            train(language, texts, "text-generation", minutes, found.choices)
        more["base_model"], before = f"{language.name}:{language.job['version']}", language.seconds
    run, minutes = Run(f"{benchmark.name}-{seed}"), options.minutes or benchmark.minutes[device]
    train(run, dataset, benchmark.task, minutes, benchmark.choices, **more)
    return Measurement(
        benchmark.name,
        options.preset,
        device,
        seed,
        benchmark.judge(service, options.data, run),
        minutes,
        run.seconds,
        run.job["progress"]["step"],
        service.version(run)["parameters"],
        Place.here(device, options.at_once),
        before,
    )


def _checked_naive(benchmark: Benchmark, data: Path) -> dict[str, float]:
    """The naive figures, which tell whether the data were read right."""
    assert benchmark.naive is not None
    found = benchmark.naive(data)
    for name, known in benchmark.naive_known.items():
        if round(found[name], 3) != known:
            sys.exit(f"{benchmark.name}: seasonal naive {name} is {found[name]}, not {known}")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--url", help="of a service that runs; by default one is started")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--only",
        type=_names,
        default=[name for name, found in BENCHMARKS.items() if found.pretraining is None],
        help=f"names with commas between them, of {', '.join(BENCHMARKS)}; by default all that "
        "need no language model first",
    )
    parser.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3]
    )
    parser.add_argument("--preset", default="base", choices=("small", "base", "large"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--at-once", type=int, default=1, help="jobs that share the cores of our own service"
    )
    parser.add_argument(
        "--minutes", type=float, help="for a look: instead of each benchmark's own minutes"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        help="a JSON file of rows: what is measured now takes the place of what it holds of the "
        "same benchmark, preset, device and seed, and the page shows all",
    )
    parser.add_argument("--out", type=Path, help="where the page goes")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such benchmark: {', '.join(unknown)}")
    return names


if __name__ == "__main__":
    main()
