"""All that a training changes: what a checkpoint holds, and what a rollback restores."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor
from torch.optim import Optimizer

from rnn.averaging import WeightAverage
from rnn.checkpoint import Content, read
from rnn.config import TaskConfig
from rnn.determinism import Randomness
from rnn.errors import CheckpointError
from rnn.events import AlertKind
from rnn.optim import load_optimizer_tensors, optimizer_tensors
from rnn.work import Work


@dataclass
class Progress:
    """Where a training stands, besides its tensors.

    Attributes:
        step: batches that were taken; the updates of those that diverged were not made.
        rate_factor: of the rate of the schedule; halved by each rollback.
        planned_steps: the steps that fit into `max_minutes`, once they are known.
        alerts: kind and layer of those that were told and have not ended.
        parts: in which each batch is taken, so that the memory is enough.
    """

    step: int = 0
    seconds: float = 0.0
    best_value: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    evaluations_since_best: int = 0
    rate_factor: float = 1.0
    rollbacks: int = 0
    planned_steps: int | None = None
    alerts: list[tuple[AlertKind, int | None]] = field(default_factory=list)
    parts: int = 1


class TrainingState:
    """Progress, weights and their average, the optimizer's memory, generators, carried state; with
    the best weights of an evaluation, and the last state that was found good.

    A rollback restores what the bad step came from: weights, average, optimizer and carried state.
    The generators and the count of batches go on, so the batch that failed does not come again.
    """

    def __init__(
        self,
        work: Work,
        optimizer: Optimizer,
        average: WeightAverage,
        randomness: Randomness,
        *,
        rolls_back: bool,
    ) -> None:
        self._work = work
        self._optimizer = optimizer
        self._average = average
        self._randomness = randomness
        self._rolls_back = rolls_back
        self.progress = Progress()
        self.best_weights = _copied(work.network.state_dict())
        self._good: dict[str, Tensor] = {}
        self.keep_good()

    def judge(self, metrics: dict[str, float]) -> bool | None:
        """Takes the held-out metrics of the weights that the network has now: keeps these where no
        others were better, and says whether it did; None: the loss is not finite."""
        progress, value = self.progress, metrics[self._work.criterion]
        if not math.isfinite(value):
            return None
        if progress.best_value is not None and value >= progress.best_value:
            progress.evaluations_since_best += 1
            return False
        progress.best_value, progress.best_metrics = value, metrics
        progress.evaluations_since_best = 0
        self.best_weights = _copied(self._work.network.state_dict())
        return True

    def keep_good(self) -> None:
        """The next rollback comes back to here."""
        if self._rolls_back:
            self._good = _copied(self._learned())

    def go_back(self) -> None:
        """To the last good state, which there is where `rolls_back`."""
        self._load_learned(_copied(self._good))

    def roll_back(self) -> None:
        """Goes back to the last good state, with half the rate."""
        self.go_back()
        self.progress.rollbacks += 1
        self.progress.rate_factor /= 2

    def content(self, config: TaskConfig) -> Content:
        """What a checkpoint of this moment holds."""
        tensors = {
            **self._learned(),
            **_named("best", self.best_weights),
            **_named("good", self._good),
            **_named("random", self._randomness.state_tensors()),
        }
        return Content("checkpoint", config, asdict(self.progress), tensors)

    def restore(self, folder: Path, config: TaskConfig) -> None:
        """Goes on from a checkpoint; those of before there were rollbacks are good states.

        Raises:
            CheckpointError: it cannot be read, or belongs to other settings or examples.
        """
        device = next(self._work.network.parameters()).device
        content = read(folder, "checkpoint", device)
        if content.config != config:
            raise CheckpointError(f"{folder.name} belongs to another configuration")
        try:
            self._load_learned(content.tensors)
            self._randomness.load_state_tensors(_part("random", content.tensors))
            self.best_weights = _part("best", content.tensors)
            self._good = _part("good", content.tensors)
            if not self._good:
                self.keep_good()
            self.progress = Progress(**content.values)
            self.progress.alerts = [(kind, layer) for kind, layer in self.progress.alerts]
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder.name} does not fit these examples: {error}") from error

    def _learned(self) -> dict[str, Tensor]:
        return {
            **_named("weights", self._work.network.state_dict()),
            **_named("average", self._average.state_tensors()),
            **_named("optimizer", optimizer_tensors(self._optimizer, self._work.network)),
            **_named("carried", self._work.carried_state()),
        }

    def _load_learned(self, tensors: Mapping[str, Tensor]) -> None:
        network = self._work.network
        network.load_state_dict(_part("weights", tensors))
        self._average.load_state_tensors(_part("average", tensors))
        load_optimizer_tensors(self._optimizer, network, _part("optimizer", tensors))
        self._work.load_carried_state(_part("carried", tensors))


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}:{name}": tensor for name, tensor in tensors.items()}


def _part(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}:"
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
