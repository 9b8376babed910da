"""Measures how fast the presets train, and writes the tables as Markdown.

    .venv/bin/python -m benchmarks.training --keep training.json --out page.md
    .venv/bin/python -m benchmarks.training --only forecasting --presets base --keep training.json
    .venv/bin/python -m benchmarks.training --only m4 --neuralforecast PYTHON --keep training.json

The last one wants a Python that has neuralforecast. Without --url a service is started; with it,
the key is read from REPRISE_API_KEY. Nothing else should want the processor meanwhile.
"""

import argparse
import os
from pathlib import Path

from benchmarks.kernels import machine
from benchmarks.service import service_at
from benchmarks.training import forecasting, presets
from benchmarks.training.page import Kept, render

PRESETS = ("small", "base", "large")
SECTIONS = (*presets.WORKS, "m4")


def main() -> None:
    options = _options()
    kept = Kept.read(options.keep)
    threads = len(os.sched_getaffinity(0))
    if options.only:
        kept.look(machine.look(quick=False), threads)
        with service_at(options.url) as service:
            for section in options.only:
                for preset in options.presets:
                    if section == "m4":
                        kept.add(forecasting.ours(service, preset, options.minutes, options.data))
                    else:
                        kept.add(
                            presets.measure(
                                service,
                                section,
                                preset,
                                options.data,
                                seconds=options.seconds,
                                threads=threads,
                            )
                        )
                    kept.write(options.keep)
        if "m4" in options.only and options.neuralforecast:
            python, steps = options.neuralforecast, options.neuralforecast_steps
            kept.add(forecasting.neuralforecast(python, steps, threads, options.data))
            kept.write(options.keep)
    text = render(kept)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--url", help="of a service that runs; by default one is started")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be given again")
    parser.add_argument("--page", action="store_true", help="measures nothing, writes the page")
    parser.add_argument("--presets", type=lambda text: text.split(","), default=list(PRESETS))
    parser.add_argument("--seconds", type=float, default=120.0, help="of each rate")
    parser.add_argument("--minutes", type=float, help="most that a preset may train on M4 Hourly")
    parser.add_argument("--neuralforecast", help="a Python that has neuralforecast")
    parser.add_argument("--neuralforecast-steps", type=int, help="by default its own number")
    parser.add_argument("--keep", type=Path, help="a JSON file of rows, measured one by one")
    parser.add_argument("--out", type=Path, help="where the page goes")
    options = parser.parse_args()
    options.only = [] if options.page else options.only or list(SECTIONS)
    return options


if __name__ == "__main__":
    main()
