"""A slot: a thread that keeps one warm trainer, claims a job, sees it through, and looks again."""

import logging
import random
import threading

from service.jobs.claims import Claim, claim
from service.jobs.quotas import default_quota
from service.jobs.workers import SERVES
from workers.attempts import DATABASE_ERRORS, AttemptWatch
from workers.room import Room
from workers.trainer_process import TrainerGoneError, TrainerProcess

log = logging.getLogger(__name__)

READY_SECONDS = 180.0  # a cold disk and a busy machine import torch slowly
START_PAUSE_SECONDS = 5.0
DATABASE_PAUSE_SECONDS = 2.0


class Slot(threading.Thread):
    """Trains one job at a time. It claims only with a trainer at hand, so a trainer that cannot
    start costs no job an attempt.

    The trainers are started by this thread, which lives as long as the worker: the kernel's
    parent-death signal follows the thread, not the process.
    """

    def __init__(self, room: Room, number: int) -> None:
        super().__init__(name=f"slot-{number}", daemon=True)
        self._room = room
        gpus = room.devices.gpus
        self._gpu = gpus[number % len(gpus)] if gpus else None
        self.idle = False

    def run(self) -> None:
        while not self._room.stopping.is_set():
            try:
                trainer = self._start_trainer()
                if trainer is not None:
                    try:
                        self._train_one(trainer)
                    finally:
                        self.idle = False
                        trainer.close()
            except Exception:  # a defect of ours must not end the slot
                log.exception("%s: something unexpected; looking for work again", self.name)
                self._room.stopping.wait(START_PAUSE_SECONDS)

    def _start_trainer(self) -> TrainerProcess | None:
        trainer = TrainerProcess(
            science=self._room.science,
            kernels=self._room.settings.kernels,
            threads=self._room.threads,
            gpu=self._gpu,
            memory_bytes=self._room.settings.trainer_memory_bytes,
        )
        waited = 0.0
        try:
            while not self._room.stopping.is_set() and waited < READY_SECONDS:
                if trainer.wait_ready(1.0):
                    log.info("%s: the trainer %d is warm", self.name, trainer.pid)
                    return trainer
                waited += 1.0
            reason = f"it was not ready after {READY_SECONDS:.0f} s"
        except TrainerGoneError as gone:
            reason = f"{gone}: {trainer.close()}"
        trainer.close()
        if not self._room.stopping.is_set():
            log.error("%s: no trainer, so no job is claimed: %s", self.name, reason)
            self._room.stopping.wait(START_PAUSE_SECONDS)
        return None

    def _train_one(self, trainer: TrainerProcess) -> None:
        """Waits for a job and sees it through; returns early when the trainer died idle."""
        room = self._room
        while not room.stopping.is_set() and trainer.is_running():
            seen = room.bell.rings()
            try:
                claimed = self._claim()
            except DATABASE_ERRORS as error:
                log.warning("%s: cannot look for work now: %s", self.name, error)
                room.stopping.wait(DATABASE_PAUSE_SECONDS)
                continue
            if claimed is not None:
                self.idle = False
                attempt = claimed.attempt
                log.info("%s: job %s attempt %s", self.name, attempt.job_id, attempt.number)
                AttemptWatch(room, claimed, trainer).run()
                return
            self.idle = True
            jitter = random.uniform(0.8, 1.2)  # noqa: S311  # workers shall not look all at once
            room.bell.wait(seen, room.settings.worker_poll_seconds * jitter)

    def _claim(self) -> Claim | None:
        with self._room.database.transaction() as db:
            return claim(
                db,
                worker_id=self._room.worker_id,
                queues=SERVES[self._room.devices.queue],
                lease_seconds=self._room.settings.lease_seconds,
                defaults=default_quota(self._room.settings),
            )
