"""A worker whose trainers train by `benchmarks.faults.scripted`.

`python -m benchmarks.faults.worker`, with settings from the environment as those of `workers.app`.
"""

import logging

from service.settings import Settings
from workers.app import make_room, run_worker, stop_on_signals


def main() -> None:
    logging.basicConfig(level="INFO", format="%(asctime)s %(name)s %(message)s")
    room = make_room(Settings(), science="benchmarks.faults.scripted:prepare")
    stop_on_signals(room.stopping)
    run_worker(room)


if __name__ == "__main__":
    main()
