"""One round of the scheduler that is killed at the point named by its argument."""

import os
import signal
import sys
from typing import Any

from service.artifacts.store import ArtifactStore
from service.db.engine import Database, make_engine
from service.schedules import runs
from service.settings import Settings


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    point, settings = sys.argv[1], Settings()
    if point == "before the job is prepared":
        runs.prepare = die
    elif point == "before the job is queued":
        runs.enqueue = die
    elif point == "between the job and the next time":
        runs.next_time = die
    elif point != "after the commit":
        sys.exit(f"there is no point {point!r}")
    database = Database(make_engine(settings))
    for _ in runs.run_due(database, ArtifactStore(settings.artifact_dir), settings):
        die()
