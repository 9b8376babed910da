"""Every kind of fault: what it does to a plant, and how it is healed.

Signals go to processes that the plant started itself, by their numbers, and nowhere else.
"""

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import redis

from benchmarks.faults.plant import Place, Plant

HOUR = 3600
PAIRS = 0.12  # share of the faults that strike together with the one before


class Injury(NamedTuple):
    """What was broken, and how it is put right again after so many seconds.

    `heal` says whether it could be done; it is tried again until then.
    """

    target: list[str]
    seconds: float
    heal: Callable[[], bool]


Inflict = Callable[[Plant, random.Random], Injury | None]  # None: not possible at this moment


class Kind(NamedTuple):
    name: str
    inflict: Inflict
    weight: int  # how often it is drawn, beside the others
    is_possible: Callable[[Plant], bool] = lambda _: True


def _nothing() -> bool:
    """The parts that are left do the healing."""
    return True


def _sound(places: list[Place]) -> list[Place]:
    return [place for place in places if not place.broken and not place.has_ended()]


def _worker(plant: Plant, dice: random.Random) -> Place | None:
    """One that may be broken, of those with a job if there are any: another one is left sound."""
    sound = _sound(plant.workers)
    if len(sound) < 2:
        return None
    return dice.choice([worker for worker in sound if worker.trainers(busy=True)] or sound)


def _restarted(place: Place, seconds: float) -> Injury:
    """Of a process that has ended: another one takes its place."""
    place.broken = True

    def heal() -> bool:
        place.start()
        place.broken = False
        return True

    return Injury([place.process], seconds, heal)


def kill_trainer(plant: Plant, dice: random.Random) -> Injury | None:
    workers = _sound(plant.workers)
    trainers = [(worker, t) for worker in workers for t in worker.trainers(busy=True)]
    if not trainers:
        return None
    worker, trainer = dice.choice(trainers)
    with suppress(psutil.NoSuchProcess):
        trainer.kill()
    return Injury([worker.process], 0, _nothing)


def kill_worker(plant: Plant, dice: random.Random) -> Injury | None:
    worker = _worker(plant, dice)
    if worker is None:
        return None
    worker.kill()
    return _restarted(worker, dice.uniform(0.5, 3))


def drain_worker(plant: Plant, dice: random.Random) -> Injury | None:
    worker = _worker(plant, dice)
    if worker is None:
        return None
    worker.drain()
    worker.broken = True

    def heal() -> bool:
        if not worker.has_ended():
            return False
        worker.ended()
        worker.start()
        worker.broken = False
        return True

    return Injury([worker.process], 2, heal)


def freeze_worker(plant: Plant, dice: random.Random) -> Injury | None:
    """For longer than its lease; its trainers go on, or stop with it."""
    worker = _worker(plant, dice)
    if worker is None:
        return None
    frozen = worker.trainers() if dice.random() < 0.5 else []
    os.kill(worker.pid, signal.SIGSTOP)
    for trainer in frozen:
        with suppress(psutil.NoSuchProcess):
            trainer.suspend()
    worker.broken = True

    def heal() -> bool:
        for trainer in frozen:
            with suppress(psutil.NoSuchProcess):
                trainer.resume()
        os.kill(worker.pid, signal.SIGCONT)
        worker.broken = False
        return True

    lease = plant.settings.lease_seconds
    return Injury([worker.process], lease * dice.uniform(1.2, 1.8), heal)


def kill_reaper(plant: Plant, dice: random.Random) -> Injury | None:
    return _kill(plant.reaper, dice)


def kill_api(plant: Plant, dice: random.Random) -> Injury | None:
    return _kill(plant.api, dice)


def _kill(place: Place, dice: random.Random) -> Injury | None:
    if place.broken:
        return None
    place.kill()
    return _restarted(place, dice.uniform(0.5, 2))


def flush_redis(plant: Plant, dice: random.Random) -> Injury | None:  # noqa: ARG001 - as the others
    with redis.Redis(unix_socket_path=str(plant.redis_socket), socket_timeout=5) as client:
        try:
            client.flushall()
        except redis.RedisError:  # another fault has it
            return None
    return Injury(["redis"], 0, _nothing)


def restart_redis(plant: Plant, dice: random.Random) -> Injury | None:
    if not plant.redis.child.running():
        return None
    assert plant.redis.child.pid is not None
    os.kill(plant.redis.child.pid, dice.choice([signal.SIGKILL, signal.SIGTERM]))
    plant.redis.stop()
    return Injury(["redis"], dice.uniform(0.5, 4), plant.start_redis)


def cut_connections(plant: Plant, dice: random.Random) -> Injury | None:
    """Those of one process or of all stay half open; Redis learns of it later than they do."""
    places = [dice.choice(plant.places)] if dice.random() < 0.5 else plant.places
    for place in places:
        place.door.cut()

    def heal() -> bool:
        for place in places:
            place.door.bury()
        return True

    return Injury([place.process for place in places], dice.uniform(10, 30), heal)


def kill_postgres(plant: Plant, dice: random.Random) -> Injury | None:
    return _stop_postgres(plant, dice, signal.SIGKILL)


def restart_postgres(plant: Plant, dice: random.Random) -> Injury | None:
    """A fast shutdown: connections are closed, transactions are rolled back."""
    return _stop_postgres(plant, dice, signal.SIGINT)


def _stop_postgres(plant: Plant, dice: random.Random, number: signal.Signals) -> Injury | None:
    child = plant.postgres.child
    if not child.running():
        return None
    assert child.pid is not None
    os.kill(child.pid, number)
    plant.postgres.stop()
    return Injury(["postgres"], dice.uniform(0.2, 3), plant.start_postgres)


def fill_disk(plant: Plant, dice: random.Random) -> Injury | None:
    assert plant.disk is not None
    filler = plant.disk / "filler"
    if filler.exists():
        return None
    space = os.statvfs(plant.disk)
    with filler.open("wb") as file, suppress(OSError):  # somebody else was faster
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize)

    def heal() -> bool:
        filler.unlink()
        return True

    return Injury(["disk"], dice.uniform(2, 6), heal)


def move_clock(plant: Plant, dice: random.Random) -> Injury | None:
    """Of one process, by up to an hour, there and back."""
    place = dice.choice([place for place in plant.places if place.clock is not None])
    clock = place.clock
    assert clock is not None
    if clock.read_text() != "+0":
        return None
    _set(clock, f"{dice.choice([-1, 1]) * dice.uniform(30, HOUR):+.0f}")
    return Injury([place.process], dice.uniform(5, 20), lambda: _set(clock, "+0"))


def _set(clock: Path, text: str) -> bool:
    new = clock.with_suffix(".new")
    new.write_text(text)
    new.replace(clock)
    return True


KINDS = (
    Kind("trainer killed", kill_trainer, 22),
    Kind("worker killed", kill_worker, 18),
    Kind("worker frozen", freeze_worker, 9),
    Kind("worker drained", drain_worker, 9),
    Kind("reaper killed", kill_reaper, 7),
    Kind("api killed", kill_api, 7),
    Kind("redis flushed", flush_redis, 7),
    Kind("redis restarted", restart_redis, 5),
    Kind("redis half open", cut_connections, 5),
    Kind("postgres killed", kill_postgres, 3),
    Kind("postgres restarted", restart_postgres, 3),
    Kind("disk full", fill_disk, 3, lambda plant: plant.disk is not None),
    Kind("clock moved", move_clock, 2, lambda plant: plant.clocks),
)


class Card(NamedTuple):
    """A fault to come; its target and its length are drawn by a seed of its own."""

    kind: Kind
    seed: int
    with_the_last: bool  # it strikes together with the one before


def deck(count: int, dice: random.Random, kinds: list[Kind]) -> list[Card]:
    """So many faults in a random order: each kind once, then by their weights."""
    drawn = dice.choices(kinds, [kind.weight for kind in kinds], k=max(0, count - len(kinds)))
    chosen = [*kinds, *drawn][:count]
    dice.shuffle(chosen)
    return [Card(kind, dice.getrandbits(32), dice.random() < PAIRS) for kind in chosen]
