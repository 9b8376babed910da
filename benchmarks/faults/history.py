"""What happened in a run, as JSON Lines: one record an operation, from four witnesses.

Every record has `op` and `at`, seconds since the run began, by clocks that nobody moves.

| op | witness | fields |
| --- | --- | --- |
| submitted, claimed, heartbeat, checkpoint, write, released, ended, retried | the database: one for each accepted change of a job's row, in the order of the commits | n, by, job, number, state, attempt, worker, seq, held, cancel |
| worker | the database: a worker said that it is there | n, by, worker |
| event | the table `job_events` | job, seq, attempt, type, and reason or step |
| version | the table `model_versions` | job, attempt |
| start, step, save, end | a trainer, into a file of its own | job, attempt, pid, step |
| accepted, refused | whoever uses the API: a submission and the answer | number, status, job, fate, given_up |
| asked | the same: a request about a job, and the answer | job, what, status |
| probe | the same: a job was read | status (null: no connection) |
| consuming | the proxy in front of Redis: a worker waits for messages | by |
| up, down | who starts the processes | by, pid |
| fault, healed | who breaks them | kind, number, target, and what was broken |

`by` is the name of a process: `worker-2.5` is the fifth process in the place of the second worker.
`worker` in a change is whose the job was before it; `held`: the job is paused or waits for another;
`number` is the submission's own.
"""  # noqa: E501 - a table

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

CHANGES = frozenset(
    {"submitted", "claimed", "heartbeat", "checkpoint", "write", "released", "ended", "retried"}
)
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class History:
    """The records of a run by what they are about, each list in order."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = sorted(records, key=lambda record: record["at"])
        self.end = self.records[-1]["at"] if self.records else 0.0
        self.changes: dict[str, list[Record]] = defaultdict(list)  # by job
        self.events: dict[str, list[Record]] = defaultdict(list)  # by job
        self.trained: dict[str, list[Record]] = defaultdict(list)  # by job
        self.versions: dict[str, list[Record]] = defaultdict(list)  # by job
        self.workers: dict[str, str] = {}  # by their id: the name of the process
        for record in self.records:
            op = record["op"]
            if op in CHANGES:
                self.changes[record["job"]].append(record)
            elif op == "event":
                self.events[record["job"]].append(record)
            elif op == "version":
                self.versions[record["job"]].append(record)
            elif op in ("start", "step", "save", "end"):
                self.trained[record["job"]].append(record)
            elif op == "worker":
                self.workers[record["worker"]] = record["by"]
        for changes in self.changes.values():
            changes.sort(key=lambda change: change["n"])
        for events in self.events.values():
            events.sort(key=lambda event: event["seq"])

    def of(self, *ops: str) -> Iterator[Record]:
        return (record for record in self.records if record["op"] in ops)

    def last(self, job: str) -> Record | None:
        """The last accepted change of a job's row."""
        changes = self.changes.get(job)
        return changes[-1] if changes else None


def read(path: Path) -> list[Record]:
    """The records of a file; a last line that a killed process did not finish is left out."""
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def write(path: Path, records: Iterable[Record]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
