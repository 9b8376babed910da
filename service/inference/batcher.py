"""Forecasts and classifications of many requests, computed together.

While one batch is computed further requests arrive, and the next batch takes what is there: nobody
waits for a batch to fill. Rows do not know of each other, so batched equals alone.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import torch

from rnn.classification.predictor import Classifier
from rnn.forecasting.covariates import SeriesCovariates, check_covariates
from rnn.forecasting.decoding import PATHS
from rnn.forecasting.predictor import Forecaster
from rnn.forecasting.reach import check_reach
from service.errors import ValidationError
from service.inference.messages import Classify, Forecast
from service.inference.requests import Classifications, Forecasts
from service.inference.shortage import in_parts
from service.inference.turns import ROWS_PER_TURN, require_finite

User = TypeVar("User")

PATH_VALUES_PER_TURN = 1 << 22  # that paths are drawn from: 32 MiB
ROWS_OF_A_THREAD = 4  # fewer take less time than to wake it


class Job(Protocol):
    """A request of rows.

    Attributes:
        key: jobs of one key are computed together.
        rows_per_turn: so many rows of its key at most.
        order: of its rows, as they are best computed.
    """

    @property
    def key(self) -> Hashable: ...

    @property
    def rows_per_turn(self) -> int: ...

    @property
    def order(self) -> Sequence[int]: ...

    def compute(self, jobs: Sequence[Any], rows: Sequence[int]) -> list[Any]:
        """The result of each row, of the job of its key beside it. Raises what the network does."""
        ...

    def answer(self, results: Sequence[Any]) -> Any:
        """Of its rows' results, in their own order."""
        ...


class ForecastJob:
    """Raises ValidationError where the answer would be too large, InputMismatchError for what the
    network cannot read or answer."""

    def __init__(self, request: Forecast, model: Forecaster) -> None:
        self._request, self._model = request, model
        self._horizon = request.horizon or cast(int, model.config.data.horizon)
        count = len(request.series)
        values = count * self._horizon * (len(request.quantiles) + request.num_samples + 1)
        if values > request.max_values:
            raise ValidationError(
                f"The answer would hold {values} numbers, the limit is {request.max_values}: "
                "ask for fewer series, timesteps, quantiles or samples."
            )
        check_reach(model.config, self._horizon, request.quantiles)
        if request.num_samples:
            model.check_paths()
        self._covariates = request.covariates or [SeriesCovariates()] * count
        check_covariates(request.series, self._covariates, model.config.data, self._horizon)
        self.key = (id(model), self._horizon, tuple(request.quantiles), request.num_samples)
        self.rows_per_turn = ROWS_PER_TURN
        if request.num_samples:
            # Recursive decoding draws that many paths for a forecast, and as many again for
            # samples; other heads state the quantiles of all that they were trained for.
            horizon = max(self._horizon, model.config.data.horizon or 0)
            rows = ROWS_PER_TURN // (1 + -(-request.num_samples // PATHS))
            self.rows_per_turn = max(1, min(rows, PATH_VALUES_PER_TURN // (horizon * PATHS)))
        self.order = range(count)

    def compute(self, jobs: Sequence["ForecastJob"], rows: Sequence[int]) -> list[Any]:
        asked = list(zip(jobs, rows, strict=True))
        with np.errstate(over="ignore", invalid="ignore"):  # told to the caller
            found = self._model.forecast(
                [job._request.series[row] for job, row in asked],
                self._horizon,
                self._request.quantiles,
                [job._covariates[row] for job, row in asked],
                num_samples=self._request.num_samples,
                seeds=[job._request.seed + row for job, row in asked],
            )
        samples = [None] * len(asked) if found.samples_bst is None else found.samples_bst
        return list(zip(found.mean_bt, found.quantiles_bqt, samples, strict=True))

    def answer(self, results: Sequence[Any]) -> Forecasts:
        """Raises InputMismatchError where a forecast is not finite."""
        means, bands, samples = zip(*results, strict=True)
        mean_bt, quantiles_bqt = np.stack(means), np.stack(bands)
        require_finite(mean_bt, quantiles_bqt)
        if not self._request.num_samples:
            return Forecasts(self._horizon, mean_bt, quantiles_bqt)
        samples_bst = np.stack(samples)
        require_finite(mean_bt, samples_bst)
        return Forecasts(self._horizon, mean_bt, quantiles_bqt, samples_bst)


class ClassifyJob:
    """Raises ValidationError where the answer would be too large."""

    def __init__(self, request: Classify, model: Classifier) -> None:
        self._texts, self._model = request.texts, model
        self.rows_per_turn = ROWS_PER_TURN
        scores = len(request.texts) * len(model.labels)
        if request.max_scores is not None and scores > request.max_scores:
            raise ValidationError(
                f"The answer would hold {scores} scores, the limit is {request.max_scores}: "
                "ask for fewer texts, or not for all scores."
            )
        self.key = id(model)
        # Texts of similar length go together, so that little of a batch is padding.
        self.order = sorted(range(len(self._texts)), key=lambda row: len(self._texts[row]))

    def compute(self, jobs: Sequence["ClassifyJob"], rows: Sequence[int]) -> list[Any]:
        texts = [job._texts[row] for job, row in zip(jobs, rows, strict=True)]
        found = self._model.classify(texts)
        return list(zip(found.probabilities_bc, found.truncated, found.known_share, strict=True))

    def answer(self, results: Sequence[Any]) -> Classifications:
        probabilities, truncated, known_share = zip(*results, strict=True)
        return Classifications(
            self._model.labels, np.stack(probabilities), list(truncated), list(known_share)
        )


@dataclass(eq=False)
class _Queued(Generic[User]):
    user: User
    job: Job
    taken: int = 0  # rows of its order
    results: dict[int, Any] = field(default_factory=dict)  # by row


class Batcher(Generic[User]):
    """All requests of rows, of all networks.

    Args:
        threads: that share the rows of a batch. Each computes its own from beginning to end, so
            that none waits for another, and what is Python's of one runs beside what is native of
            the others.
        begins: called before each batch with those whose rows are in it, and how many these are.
    """

    def __init__(
        self, threads: int = 1, begins: Callable[[Sequence[User], int], None] | None = None
    ) -> None:
        self._threads = threads
        self._begins = begins or (lambda _users, _rows: None)
        self._workers = ThreadPoolExecutor(
            max_workers=threads,
            thread_name_prefix="rows",
            initializer=torch.set_num_threads,  # of its kernels, too
            initargs=(1,),
        )
        # The keys in the order of their turns, the requests of each in the order of arrival.
        self._queues: OrderedDict[Hashable, dict[User, _Queued[User]]] = OrderedDict()
        self._keys: dict[User, Hashable] = {}

    @property
    def busy(self) -> bool:
        return bool(self._queues)

    def add(self, user: User, job: Job) -> None:
        self._keys[user] = job.key
        self._queues.setdefault(job.key, {})[user] = _Queued(user, job)

    def drop(self, user: User) -> None:
        """Nobody waits for its answer any more, or it has it."""
        key = self._keys.pop(user, None)
        if key is not None:
            queue = self._queues[key]
            del queue[user]
            if not queue:
                del self._queues[key]

    def close(self) -> None:
        self._workers.shutdown()

    def turn(self) -> list[tuple[User, Any]]:
        """Computes one batch; returns the answers that are complete now, and errors."""
        key = next(iter(self._queues))
        self._queues.move_to_end(key)
        shares = _shared_out(list(self._queues[key].values()))
        self._begins([queued.user for queued, _ in shares], sum(len(rows) for _, rows in shares))
        try:
            self._compute(shares)
        except Exception:
            settled = self._one_by_one(shares)  # the others do not suffer
        else:
            settled = []
        for queued, _ in shares:
            if len(queued.results) == len(queued.job.order):
                settled.append((queued.user, _answered(queued)))
        for user, _ in settled:
            self.drop(user)
        return settled

    def _compute(self, shares: "list[tuple[_Queued[User], Sequence[int]]]") -> None:
        jobs = [queued.job for queued, rows in shares for _ in rows]
        rows = [row for _, rows in shares for row in rows]
        results = iter(in_parts(self._computed, jobs, rows))
        for queued, taken in shares:
            queued.results.update(zip(taken, results, strict=False))

    def _computed(self, jobs: list[Job], rows: list[int]) -> list[Any]:
        """The result of each row; neighbours go to different threads, since they are as long."""
        threads = min(self._threads, len(rows) // ROWS_OF_A_THREAD)
        if threads < 2:
            return jobs[0].compute(jobs, rows)
        parts = [slice(first, None, threads) for first in range(threads)]
        computing = [
            self._workers.submit(jobs[0].compute, jobs[part], rows[part]) for part in parts
        ]
        wait(computing)
        results: list[Any] = [None] * len(rows)
        for part, computed in zip(parts, computing, strict=True):
            results[part] = computed.result()
        return results

    def _one_by_one(
        self, shares: "list[tuple[_Queued[User], Sequence[int]]]"
    ) -> list[tuple[User, Any]]:
        failed: list[tuple[User, Any]] = []
        for share in shares:
            try:
                self._compute([share])
            except Exception as error:
                failed.append((share[0].user, error))
        return failed


def _shared_out(queue: list[_Queued[User]]) -> list[tuple[_Queued[User], Sequence[int]]]:
    """At most a batch of rows: of each request as many, then of the first what is left of it."""
    most = queue[0].job.rows_per_turn
    each = max(1, most // len(queue))
    wanted = [min(each, len(queued.job.order) - queued.taken) for queued in queue]
    wanted = wanted[:most]
    left = most - sum(wanted)
    shares: list[tuple[_Queued[User], Sequence[int]]] = []
    for queued, count in zip(queue, wanted, strict=False):
        more = min(left, len(queued.job.order) - queued.taken - count)
        left -= more
        end = queued.taken + count + more
        shares.append((queued, queued.job.order[queued.taken : end]))
        queued.taken = end
    return shares


def _answered(queued: _Queued[Any]) -> Any:
    """The answer, or the error that stands for it."""
    try:
        return queued.job.answer([queued.results[row] for row in range(len(queued.results))])
    except Exception as error:
        return error
