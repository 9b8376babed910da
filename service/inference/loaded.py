"""Which networks are in memory: at most so many, each loaded once however many ask for it.

The book-keeping lives on the event loop, so it needs no lock; the loading itself runs on a thread
of its own, so that neither the loop nor the texts being generated wait for it.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from service.errors import OverloadedError, UnavailableError

if TYPE_CHECKING:  # a server imports this module without paying for torch
    from rnn.classification.predictor import Classifier
    from rnn.forecasting.predictor import Forecaster
    from rnn.generation.predictor import Generator

    Model: TypeAlias = Forecaster | Classifier | Generator

log = logging.getLogger(__name__)


class _Entry:
    def __init__(self, loading: "asyncio.Task[Model]") -> None:
        self.loading = loading
        self.users = 0
        self.replaced = False  # another version took its place: goes with its last user


class LoadedModels:
    """The least recently used idle network makes room for a new one.

    Keyed by the digest of the manifest: equal bytes are one network, whatever they are called.
    """

    def __init__(self, max_loaded: int, threads: int) -> None:
        self._max_loaded = max_loaded
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._loader = ThreadPoolExecutor(
            max_workers=1,
            thread_name_prefix="model-loader",
            initializer=_limit_threads,
            initargs=(threads,),
        )

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def borrow(self, folder: Path, sha256: str) -> "AsyncIterator[Model]":
        """The network of a folder, kept in memory for the length of the block.

        Raises OverloadedError where every place is in use, UnavailableError where the folder
        does not hold what the digest says. A caller that gives up does not stop the loading.
        """
        entry = self._entries.get(sha256) or self._add(folder, sha256)
        self._entries.move_to_end(sha256)
        entry.users += 1
        entry.replaced = False
        try:
            yield await asyncio.shield(entry.loading)
        finally:
            entry.users -= 1
            self._drop_replaced(sha256, entry)

    def replace(self, sha256: str) -> None:
        """Another version took the place of this one: it is dropped when its last request ends."""
        entry = self._entries.get(sha256)
        if entry is not None:
            entry.replaced = True
            self._drop_replaced(sha256, entry)

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._entries.clear()

    def _add(self, folder: Path, sha256: str) -> _Entry:
        self._make_room()
        entry = self._entries[sha256] = _Entry(asyncio.create_task(self._load(folder, sha256)))

        def forget_failure(loading: "asyncio.Task[Model]") -> None:
            failed = loading.cancelled() or loading.exception() is not None
            if failed and self._entries.get(sha256) is entry:
                del self._entries[sha256]  # the next request tries again

        entry.loading.add_done_callback(forget_failure)
        return entry

    def _make_room(self) -> None:
        while len(self._entries) >= self._max_loaded:
            idle = (
                sha256
                for sha256, entry in self._entries.items()
                if not entry.users and entry.loading.done()
            )
            victim = next(idle, None)
            if victim is None:
                raise OverloadedError(f"All {self._max_loaded} networks in memory are in use.")
            del self._entries[victim]

    def _drop_replaced(self, sha256: str, entry: _Entry) -> None:
        idle = not entry.users and entry.loading.done()
        if entry.replaced and idle and self._entries.get(sha256) is entry:
            del self._entries[sha256]

    async def _load(self, folder: Path, sha256: str) -> "Model":
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        try:
            model = await loop.run_in_executor(self._loader, _load_and_warm, folder, sha256)
        except Exception as error:
            log.exception("cannot load the model in %s", folder)
            raise UnavailableError("The files of this model version cannot be loaded.") from error
        log.info("loaded %s in %.3f s", folder, time.monotonic() - started)
        return model


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)  # counts for the thread that says it


def _load_and_warm(folder: Path, sha256: str) -> "Model":
    """Loads a folder that is what its digest says, and asks it once so that the next is fast."""
    import numpy as np
    import torch

    from rnn.checkpoint import load_model, manifest_sha256
    from rnn.classification.predictor import Classifier
    from rnn.errors import CheckpointError
    from rnn.forecasting.covariates import unknown_covariates
    from rnn.forecasting.predictor import Forecaster

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
    return model
