"""Which networks are in memory: in at most so many bytes, each loaded once however many ask for it.

The book-keeping lives on the engine's thread, so it needs no lock; the loading itself runs on a
thread of its own, so that the texts being generated do not wait for it.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch

from rnn.checkpoint import Predictor, load_model, manifest_sha256
from rnn.classification.predictor import Classifier
from rnn.errors import CheckpointError
from rnn.forecasting.covariates import unknown_covariates
from rnn.forecasting.predictor import Forecaster
from rnn.kernels.cuda_steps import MOST_ROWS
from rnn.memory import is_out_of_memory
from service.errors import OverloadedError, ServiceError, UnavailableError
from service.inference.footprint import memory_bytes
from service.inference.histogram import SECONDS, Histogram
from service.inference.requests import Device, Network
from service.inference.turns import ROWS_PER_TURN

Model: TypeAlias = Predictor
User = TypeVar("User")

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    model: Model
    size_bytes: int


@dataclass(eq=False)
class _Entry(Generic[User]):
    size_bytes: int  # of its files until it is loaded, which is less than it will take
    model: Model | None = None  # until it is loaded
    since: float = field(default_factory=time.monotonic)  # it was asked for
    waiting: list[User] = field(default_factory=list)
    users: int = 0
    replaced: bool = False  # no alias stands for it: goes with its last user

    @property
    def is_idle(self) -> bool:
        return self.model is not None and not self.users


class LoadedModels(Generic[User]):
    """The least recently used idle networks make room for a new one; one in use stays.

    Keyed by the digest of the manifest: equal bytes are one network, whatever they are called. What
    a network takes is known once it is loaded, so that the memory may hold one too many until then.

    Args:
        max_bytes: of all networks together. One that takes more by itself is not kept.
        wake: called on another thread when `arrived` has something.
        device: where they are computed, and lie but for their tokens.
    """

    def __init__(self, max_bytes: int, wake: Callable[[], None], device: Device = "cpu") -> None:
        self._max_bytes = max_bytes
        self._device = device
        self.size_bytes = 0
        self.load_seconds = Histogram.of(SECONDS)
        self._wake = wake
        self._entries: OrderedDict[str, _Entry[User]] = OrderedDict()
        self._arrived: SimpleQueue[tuple[str, Future[Loaded]]] = SimpleQueue()
        self._loader = ThreadPoolExecutor(
            max_workers=1,
            thread_name_prefix="model-loader",
            initializer=torch.set_num_threads,  # counts for the thread that says it
            initargs=(1,),
        )

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def borrow(self, network: Network, user: User) -> Model | None:
        """The network, kept in memory until `give_back`; None: `arrived` will have it.

        Raises OverloadedError where those in use leave no room, UnavailableError where none ever
        could.
        """
        entry = self._entries.get(network.sha256) or self._add(network)
        self._entries.move_to_end(network.sha256)
        entry.users += 1
        entry.replaced = False
        if entry.model is None:
            entry.waiting.append(user)
        return entry.model

    def give_back(self, sha256: str) -> None:
        """By each who borrowed it, once."""
        entry = self._entries.get(sha256)
        if entry is not None:  # it could not be loaded otherwise
            entry.users -= 1
            self._drop_replaced(sha256, entry)

    def arrived(self) -> Iterator[tuple[User, Model | ServiceError]]:
        """Networks that were loaded, for each who waits; or why there is none to give back."""
        while True:
            try:
                sha256, loading = self._arrived.get_nowait()
            except Empty:
                return
            entry = self._entries[sha256]  # one that is being loaded stays
            waiting, entry.waiting = entry.waiting, []
            self._remove(sha256)  # and unless there is room now, the next request tries again
            outcome: Model | ServiceError
            try:
                outcome, size_bytes = loading.result()
                self._make_room(size_bytes)
            except ServiceError as error:
                log.warning("the network %s was loaded in vain: %s", sha256, error)
                outcome = error
            except Exception as error:
                outcome = self._refusal(sha256, error)
            else:
                entry.model, entry.size_bytes = outcome, size_bytes
                self.load_seconds.observe(time.monotonic() - entry.since)
                self._keep(sha256, entry)
                self._drop_replaced(sha256, entry)
            for user in waiting:
                yield user, outcome

    def replace(self, sha256: str) -> None:
        """No alias stands for this version any more: it is dropped when its last request ends."""
        entry = self._entries.get(sha256)
        if entry is not None:
            entry.replaced = True
            self._drop_replaced(sha256, entry)

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._entries.clear()
        self.size_bytes = 0

    def _add(self, network: Network) -> _Entry[User]:
        size_bytes = _files_bytes(network.folder)
        self._make_room(size_bytes)
        entry: _Entry[User] = _Entry(size_bytes)
        self._keep(network.sha256, entry)
        loading = self._loader.submit(_load_and_warm, network.folder, network.sha256, self._device)

        def tell(loading: Future[Loaded]) -> None:
            self._arrived.put((network.sha256, loading))
            self._wake()

        loading.add_done_callback(tell)
        return entry

    def _make_room(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise UnavailableError(
                f"This model version takes {size_bytes:,} bytes of memory, and"
                f" REPRISE_MODEL_CACHE_BYTES allows {self._max_bytes:,}."
            )
        while self.size_bytes + size_bytes > self._max_bytes:
            victim = next((key for key, entry in self._entries.items() if entry.is_idle), None)
            if victim is None:
                raise OverloadedError(
                    f"The networks in use leave no room for this one, which takes {size_bytes:,} "
                    f"of {self._max_bytes:,} bytes (REPRISE_MODEL_CACHE_BYTES)."
                )
            self._remove(victim)

    def _refusal(self, sha256: str, error: Exception) -> ServiceError:
        """Why a network could not be loaded; where memory was short, idle ones leave for the next
        try."""
        if not is_out_of_memory(error):
            log.error("cannot load the network %s", sha256, exc_info=error)
            return UnavailableError("The files of this model version cannot be loaded.")
        log.warning("there is not enough memory for the network %s: %s", sha256, error)
        for key in [key for key, entry in self._entries.items() if entry.is_idle]:
            self._remove(key)
        return UnavailableError(
            "The engine has not enough memory for this model version beside those in use. "
            "REPRISE_MODEL_CACHE_BYTES bounds what all of them take."
        )

    def _keep(self, sha256: str, entry: _Entry[User]) -> None:
        self._entries[sha256] = entry
        self.size_bytes += entry.size_bytes

    def _remove(self, sha256: str) -> None:
        self.size_bytes -= self._entries.pop(sha256).size_bytes

    def _drop_replaced(self, sha256: str, entry: _Entry[User]) -> None:
        if entry.replaced and entry.is_idle:
            self._remove(sha256)


def _files_bytes(folder: Path) -> int:
    """0 where they cannot be read: whoever loads them will say why."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0


def _load_and_warm(folder: Path, sha256: str, device: Device) -> Loaded:
    """Loads a folder that is what its digest says, and asks it once so that the next is fast."""
    started = time.monotonic()
    found = manifest_sha256(folder)
    if found != sha256:
        raise CheckpointError(f"the manifest of {folder} has SHA-256 {found}, expected {sha256}")
    model = load_model(folder, device)
    with torch.inference_mode():
        _warm(model, device)
    size_bytes = memory_bytes(model)
    log.info(
        "loaded %s in %.3f s: %d bytes, answers in %s on %s",
        folder,
        time.monotonic() - started,
        size_bytes,
        model.precision,
        device,
    )
    return Loaded(model, size_bytes)


def _warm(model: Model, device: Device) -> None:
    """On a GPU with as many rows as come together, whose graphs share their memory with those of
    fewer (`rnn.kernels.cuda_steps`). Those of texts are captured for every number of rows: no
    request waits for one."""
    rows = 1 if device == "cpu" else ROWS_PER_TURN
    if isinstance(model, Forecaster):
        nothing = unknown_covariates(model.config.data, timesteps=1, horizon=1)
        levels = [model.quantile_levels[0]]
        model.forecast(
            [np.zeros(1)] * rows,
            1,
            levels,
            [nothing] * rows,
            num_samples=int(model.has_paths),
            seeds=range(rows),
        )
    elif isinstance(model, Classifier):
        model.classify(["warm"] * rows)
    else:
        model.prefill([0], model.initial_state(1))
        most = 1 if device == "cpu" else MOST_ROWS
        for halved in range(most.bit_length()):
            rows = most >> halved
            model.step(torch.zeros(rows, dtype=torch.int64), model.initial_state(rows))
