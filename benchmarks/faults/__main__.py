"""Runs the whole service under faults, checks its history, and writes the table.

    .venv/bin/python -m benchmarks.faults --jobs 2000 --faults 500 --seed 1 \\
        --out benchmarks/results/faults.md --history history.jsonl

Everything runs on this machine, in a folder that is thrown away. As root the artifacts get a small
file system of their own, which can be full. Clocks are moved where there are libfaketime, a Debian
package, and a C compiler. Nothing else should want the processor.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.faults import history, page
from benchmarks.faults.checker import check
from benchmarks.faults.claims import connected
from benchmarks.faults.races import race
from benchmarks.faults.servers import own_database
from benchmarks.faults.storm import Plan, run, to_stderr
from benchmarks.faults.users import Load

PAUSE_SECONDS = 3.0
# Times are those of the defaults but for the checkpoints: the trainings are short.
SETTINGS = {
    "worker_slots": 2,
    "trainer_threads": 1,
    "device": "cpu",
    "kernels": "off",
    "checkpoint_interval_seconds": 2.0,
    "log_level": "WARNING",
}


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("it was ended"))  # puts away what it made
    plan = Plan(
        Load(options.jobs, (25, 300), 24, options.faults * PAUSE_SECONDS, 120.0),
        options.faults,
        options.seed,
        4,
        PAUSE_SECONDS,
        180.0,
        SETTINGS,
    )
    to_stderr(f"{options.races} races of a cancel against an end")
    with own_database() as settings, connected(settings) as database:
        races = race(database, options.races, options.seed)
    with tempfile.TemporaryDirectory(prefix="reprise-faults-", dir="/tmp") as folder:
        done = run(plan, Path(folder), to_stderr)
    if options.history is not None:
        history.write(options.history, done.history.records)
    violations = check(done.history)
    text = page.render(plan, done, violations, races)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    for name, found in violations.items():
        for what in found:
            print(f"{name}: {what}", file=sys.stderr)
    broken = [row.what for row in page.rows(done) if not row.holds]
    sys.exit(f"too much: {', '.join(broken)}" if broken else int(any(violations.values())))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1, help="of the faults and of the users")
    parser.add_argument("--races", type=int, default=1_000, help="of a cancel against an end")
    parser.add_argument("--history", type=Path, help="JSON Lines: every operation")
    parser.add_argument("--out", type=Path, help="a Markdown page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
