"""What the training loop needs of a task: batches as losses, held-out figures, a model to save."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from rnn.checkpoint import Predictor
from rnn.probe import Probe
from rnn.samples import Sample
from rnn.stack import RecurrentStack
from rnn.tokenizers import SavedTokenizer


@dataclass(frozen=True)
class PartLoss:
    """Mean loss of some rows of a batch, and how many positions were read for it
    (`rnn.events.StepDone`)."""

    loss: Tensor
    timesteps: int


class LossSum(NamedTuple):
    """The losses of some positions, added up."""

    total: float
    positions: int

    @property
    def mean(self) -> float:
        """NaN of none."""
        return self.total / self.positions if self.positions else math.nan


@dataclass(frozen=True)
class Share:
    """What some rows count for in the means over their whole batch.

    Attributes:
        targets: their share of the positions that have a loss.
        outputs: of what leaves the stack, without padding.
        changes: of the pairs of neighbouring outputs.
    """

    targets: float
    outputs: float
    changes: float

    @classmethod
    def even(cls, part: slice, rows: int) -> "Share":
        """Where every row of the batch counts alike."""
        share = (part.stop - part.start) / rows
        return cls(share, share, share)


WHOLE = Share(1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Batch:
    """The examples of one step, to be taken whole or in parts.

    Attributes:
        rows: how many there are.
        loss: of the rows of a slice with a start and a stop. The slices of one pass over a batch
            come in order and leave none out; a pass that was broken off may be begun again.
        share: of the same rows.
        timesteps: that the recurrent part reads of all rows together, about.
        rate_scale: what the rate of the step is multiplied by.
    """

    rows: int
    loss: Callable[[slice], PartLoss]
    share: Callable[[slice], Share]
    timesteps: int
    rate_scale: float = 1.0

    def parts(self, number: int) -> list[slice]:
        """The rows in so many slices of about equal size, but none without a row."""
        number = min(number, self.rows)
        ends = [self.rows * place // number for place in range(number + 1)]
        return [slice(*bounds) for bounds in pairwise(ends)]

    def largest_part(self, number: int) -> int:
        """The most rows that one of so many parts has."""
        return -(-self.rows // min(number, self.rows))


@dataclass(frozen=True)
class ModelParts:
    """What a served model needs besides its weights."""

    values: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: SavedTokenizer | None = None


class Work(Protocol):
    """One task with its data and its network. Batch `index` of an epoch is a pure function of seed,
    epoch, index and carried state. The network's recurrent part is its attribute `stack`."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def criterion(self) -> str:
        """The held-out metric that decides which weights are best; smaller is better."""
        ...

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Every parameter once, from the input to the output: what is before the recurrent layers,
        each of them, what is after them. Rates fall and layers freeze from the output down."""
        ...

    def batch(self, epoch: int, index: int) -> Batch:
        """One batch. Within an epoch, indices come in order."""
        ...

    def probe_loss(self, probe: Probe) -> Tensor:
        """The loss of a few rows of the training part, all of one length, with `probe` handed to
        the stack. Always the same rows, in eval mode; draws nothing, and leaves the carried state
        alone. Where every timestep has a loss of its own it is the last one's."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Metrics on the held-out part."""
        ...

    def samples(self) -> Sequence[Sample]:
        """How the network answers a few examples of the held-out part, the same ones each time. It
        is called in place of a step, and must leave generators and carried state alone."""
        ...

    def calibrate(self) -> dict[str, float]:
        """Fits, on the held-out part, what the network is served with besides its weights; the
        figures of it. Called once, with the weights that will be published, before `test`."""
        ...

    def test(self) -> dict[str, float]:
        """Metrics on the test part, named test_...; empty if the data has none."""
        ...

    def served_losses(self, predictor: Predictor) -> Iterator[LossSum]:
        """The criterion of some of the held-out part, a bounded number of its examples, as a saved
        model's predictor on the CPU makes it. Piece by piece, the same for every predictor."""
        ...

    def carried_state(self) -> dict[str, Tensor]:
        """What one batch hands to the next; empty for most tasks."""
        ...

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        """Gives back what `carried_state` took; empty: nothing is carried."""
        ...

    def model_parts(self) -> ModelParts: ...


def recurrent_stack(work: Work) -> RecurrentStack:
    """The recurrent part of a work's network."""
    stack = work.network.get_submodule("stack")
    assert isinstance(stack, RecurrentStack)
    return stack
