"""Which networks are in memory: at most so many, each loaded once however many ask for it.

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
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import torch

from rnn.checkpoint import load_model, manifest_sha256
from rnn.classification.predictor import Classifier
from rnn.errors import CheckpointError
from rnn.forecasting.covariates import unknown_covariates
from rnn.forecasting.predictor import Forecaster
from rnn.generation.predictor import Generator
from service.errors import OverloadedError, UnavailableError
from service.inference.requests import Network

Model: TypeAlias = Forecaster | Classifier | Generator
User = TypeVar("User")

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Entry(Generic[User]):
    model: Model | None = None  # until it is loaded
    waiting: list[User] = field(default_factory=list)
    users: int = 0
    replaced: bool = False  # another version took its place: goes with its last user

    @property
    def is_idle(self) -> bool:
        return self.model is not None and not self.users


class LoadedModels(Generic[User]):
    """The least recently used idle network makes room for a new one.

    Keyed by the digest of the manifest: equal bytes are one network, whatever they are called.

    Args:
        wake: called on another thread when `arrived` has something.
    """

    def __init__(self, max_loaded: int, threads: int, wake: Callable[[], None]) -> None:
        self._max_loaded = max_loaded
        self._wake = wake
        self._entries: OrderedDict[str, _Entry[User]] = OrderedDict()
        self._arrived: SimpleQueue[tuple[str, Future[Model]]] = SimpleQueue()
        self._loader = ThreadPoolExecutor(
            max_workers=1,
            thread_name_prefix="model-loader",
            initializer=torch.set_num_threads,  # counts for the thread that says it
            initargs=(threads,),
        )

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def borrow(self, network: Network, user: User) -> Model | None:
        """The network, kept in memory until `give_back`; None: `arrived` will have it.

        Raises OverloadedError where every place is in use.
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

    def arrived(self) -> Iterator[tuple[User, Model | UnavailableError]]:
        """Networks that were loaded, for each who waits; or why there is none to give back."""
        while True:
            try:
                sha256, loading = self._arrived.get_nowait()
            except Empty:
                return
            entry = self._entries[sha256]  # one that is being loaded stays
            waiting, entry.waiting = entry.waiting, []
            outcome: Model | UnavailableError
            try:
                entry.model = outcome = loading.result()
                self._drop_replaced(sha256, entry)
            except Exception as error:
                log.error("cannot load the network %s", sha256, exc_info=error)
                del self._entries[sha256]  # the next request tries again
                outcome = UnavailableError("The files of this model version cannot be loaded.")
            for user in waiting:
                yield user, outcome

    def replace(self, sha256: str) -> None:
        """Another version took the place of this one: it is dropped when its last request ends."""
        entry = self._entries.get(sha256)
        if entry is not None:
            entry.replaced = True
            self._drop_replaced(sha256, entry)

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._entries.clear()

    def _add(self, network: Network) -> _Entry[User]:
        self._make_room()
        entry = self._entries[network.sha256] = _Entry()
        loading = self._loader.submit(_load_and_warm, network.folder, network.sha256)

        def tell(loading: Future[Model]) -> None:
            self._arrived.put((network.sha256, loading))
            self._wake()

        loading.add_done_callback(tell)
        return entry

    def _make_room(self) -> None:
        while len(self._entries) >= self._max_loaded:
            victim = next((key for key, entry in self._entries.items() if entry.is_idle), None)
            if victim is None:
                raise OverloadedError(f"All {self._max_loaded} networks in memory are in use.")
            del self._entries[victim]

    def _drop_replaced(self, sha256: str, entry: _Entry[User]) -> None:
        if entry.replaced and entry.is_idle:
            del self._entries[sha256]


def _load_and_warm(folder: Path, sha256: str) -> Model:
    """Loads a folder that is what its digest says, and asks it once so that the next is fast."""
    started = time.monotonic()
    found = manifest_sha256(folder)
    if found != sha256:
        raise CheckpointError(f"the manifest of {folder} has SHA-256 {found}, expected {sha256}")
    model = load_model(folder, device="cpu")
    with torch.inference_mode():
        if isinstance(model, Forecaster):
            nothing = unknown_covariates(model.config.data, timesteps=1, horizon=1)
            model.forecast([np.zeros(1)], 1, [model.quantile_levels[0]], [nothing])
        elif isinstance(model, Classifier):
            model.classify(["warm"])
        else:
            _, state = model.prefill([0], model.initial_state(1))
            model.step(torch.tensor([0]), state)
    seconds = time.monotonic() - started
    log.info("loaded %s in %.3f s, answers in %s", folder, seconds, model.precision)
    return model
