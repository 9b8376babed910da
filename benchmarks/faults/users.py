"""Those who use the service during a run: they submit, look after their jobs, and read, over HTTP.

A request without a usable answer is sent again with the same Idempotency-Key until there is one:
an acknowledged submission is one that was answered 202.
"""

import random
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from benchmarks.faults import scripted
from benchmarks.faults.witness import Witness

SERIES = "y\n" + "\n".join(str(10 + (i % 4) + i / 50) for i in range(120)) + "\n"
TRY_SECONDS = 1.0
LOOK_SECONDS = 1.0
PROBE_SECONDS = 0.2
PROBE_TIMEOUT_SECONDS = 5.0
TIMEOUT_SECONDS = 20.0
FATES = {
    "fine": scripted.FINE,
    "killed": scripted.KILLED,
    "diverges": scripted.DIVERGES,
    "defective": scripted.DEFECTIVE,
}
WEIGHTS = (94, 2, 2, 2)
CANCELLED, PAUSED = 0.04, 0.03  # shares of the jobs
# What a fault may make a job fail with that is fine in itself: whoever looks after it retries it.
HARMED = ("insufficient-storage", "poisoned")


class Load(NamedTuple):
    """What is submitted.

    Attributes:
        steps: of a job, from and to.
        at_once: jobs that are waiting or running, at most.
        spread_seconds: from the first submission to the last, at least.
        answer_seconds: after so long without an acknowledgement a submission is given up. Whoever
            was killed with it keeps its Idempotency-Key for a minute.
    """

    jobs: int
    steps: tuple[int, int]
    at_once: int
    spread_seconds: float
    answer_seconds: float


class Submission(NamedTuple):
    """`plans` are what is asked about the job later: after how many seconds, and what."""

    number: int
    fate: str
    body: dict[str, Any]
    plans: list[tuple[float, str]]
    since: float


class Users:
    """Three threads. `submitted` counts submissions that were answered or given up, `ended` those
    of them that have come to their end."""

    def __init__(self, address: str, key: str, witness: Witness, load: Load, seed: int) -> None:
        self.submitted = self.ended = 0
        self._quiet = False  # no job was waiting or running
        self._witness, self._load = witness, load
        self._dice = random.Random(seed)
        self._address, self._headers = address, {"Authorization": f"Bearer {key}"}
        self._over = threading.Event()
        self._fates: dict[str, str] = {}  # of the jobs that are looked after
        self._plans: list[tuple[float, str, str]] = []  # when, what, and the job
        self._any_job = ""
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=run, daemon=True)
            for run in (self._submit_all, self._look_after, self._probe)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def all_submitted(self) -> bool:
        return self.submitted >= self._load.jobs

    @property
    def done(self) -> bool:
        """Whether every job has come to its end, also those of submissions that were given up."""
        return self.ended >= self._load.jobs and self._quiet

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _client(self, timeout_seconds: float) -> httpx.Client:
        return httpx.Client(
            base_url=f"{self._address}/api/v1", headers=self._headers, timeout=timeout_seconds
        )

    # Submissions

    def _submit_all(self) -> None:
        with self._client(TIMEOUT_SECONDS) as http:
            dataset = self._upload(http)
            began = self._witness.now()
            unanswered: list[Submission] = []
            number = 0
            while not self._over.wait(0.02):
                unanswered = [each for each in unanswered if not self._submit(http, each)]
                due = began + number * self._load.spread_seconds / self._load.jobs
                if number == self._load.jobs:
                    if not unanswered:
                        return
                elif self._witness.now() >= due and len(self._fates) < self._load.at_once:
                    number += 1
                    submission = self._submission(dataset, number)
                    if not self._submit(http, submission):
                        unanswered.append(submission)
                if unanswered:
                    self._over.wait(TRY_SECONDS)

    def _upload(self, http: httpx.Client) -> str:
        while True:
            try:
                answer = http.post("/datasets", files={"file": ("series.csv", SERIES)})
                if answer.status_code == 201:
                    return str(answer.json()["id"])
            except httpx.HTTPError:
                pass
            time.sleep(TRY_SECONDS)

    def _submission(self, dataset: str, number: int) -> Submission:
        (fate,) = self._dice.choices(list(FATES), WEIGHTS)
        steps = self._dice.randint(*self._load.steps)
        body = {
            "task": "time-series-forecasting",
            "dataset": dataset,
            "model": f"model-{number % 20}",
            "training": {"seed": FATES[fate], "max_steps": steps},
            "metadata": {"number": str(number)},
        }
        return Submission(number, fate, body, self._plans_for_one(), self._witness.now())

    def _plans_for_one(self) -> list[tuple[float, str]]:
        """A few jobs are cancelled, or paused and let go, at a moment that nobody chose."""
        luck, after, later = self._dice.random(), self._dice.uniform(0, 4), self._dice.uniform(1, 5)
        if luck < CANCELLED:
            return [(after, "cancel")]
        if luck < CANCELLED + PAUSED:
            return [(after, "pause"), (after + later, "resume")]
        return []

    def _submit(self, http: httpx.Client, submission: Submission) -> bool:
        """One try; whether it was acknowledged, or is given up."""
        number, fate, body, plans, since = submission
        try:
            answer = http.post("/jobs", json=body, headers={"Idempotency-Key": f"job-{number}"})
            status: int | None = answer.status_code
        except httpx.HTTPError:
            status = None
        if status != 202:
            given_up = self._witness.now() > since + self._load.answer_seconds
            self._witness.note("refused", number=number, status=status, given_up=given_up)
            with self._lock:
                self.submitted += given_up
                self.ended += given_up
            return given_up
        job = str(answer.json()["id"])
        self._witness.note("accepted", job=job, number=number, fate=fate, status=202)
        with self._lock:
            self.submitted += 1
            self._fates[job] = fate
            self._any_job = self._any_job or job
            self._plans += [(self._witness.now() + after, what, job) for after, what in plans]
        return True

    # Care

    def _look_after(self) -> None:
        with self._client(TIMEOUT_SECONDS) as http:
            while not self._over.wait(LOOK_SECONDS):
                try:
                    self._carry_out(http)
                    self._look(http)
                except (httpx.HTTPError, _UnavailableError):
                    continue

    def _carry_out(self, http: httpx.Client) -> None:
        with self._lock:
            due = [plan for plan in self._plans if plan[0] <= self._witness.now()]
        for plan in due:
            _, what, job = plan
            self._ask(http, what, job)
            with self._lock:
                self._plans.remove(plan)

    def _ask(self, http: httpx.Client, what: str, job: str) -> None:
        answer = http.post(f"/jobs/{job}/{what}")
        self._witness.note("asked", what=what, job=job, status=answer.status_code)
        if answer.status_code not in (202, 409):  # 409: it has ended
            raise _UnavailableError

    def _look(self, http: httpx.Client) -> None:
        """Finds out which jobs have ended; one that a fault made fail is tried again."""
        with self._lock:
            known = dict(self._fates)
        going = {
            str(job["id"])
            for state in ("queued", "running")
            for job in _read(http, "/jobs", state=state, limit=200)["data"]
        }
        self._quiet = not going
        for job in known.keys() - going:
            view = _read(http, f"/jobs/{job}")
            if view["state"] in ("queued", "running"):
                continue
            error = view["error"] and view["error"]["type"]
            if error in HARMED and (known[job] != "killed" or error != "poisoned"):
                self._ask(http, "retry", job)
                continue
            with self._lock:
                if any(plan[2] == job for plan in self._plans):
                    continue
                del self._fates[job]
                self.ended += 1

    def _probe(self) -> None:
        """Somebody who reads one job again and again."""
        with self._client(PROBE_TIMEOUT_SECONDS) as http:
            while not self._over.wait(PROBE_SECONDS):
                if not self._any_job:
                    continue
                began = self._witness.now()
                try:
                    status: int | None = http.get(f"/jobs/{self._any_job}").status_code
                except httpx.HTTPError:
                    status = None
                seconds = self._witness.now() - began
                self._witness.note("probe", at=began, status=status, seconds=seconds)


class _UnavailableError(Exception):
    """An answer that says to come again."""


def _read(http: httpx.Client, path: str, **query: Any) -> Mapping[str, Any]:
    answer = http.get(path, params=query)
    if answer.status_code != 200:
        raise _UnavailableError
    found: Mapping[str, Any] = answer.json()
    return found
