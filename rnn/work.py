"""What the training loop needs of a task: batches as losses, held-out figures, a model to save."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from rnn.tokenizers import WordTokenizer


@dataclass(frozen=True)
class BatchLoss:
    """Mean loss of a batch, and how many positions were read for it (`rnn.events.StepDone`)."""

    loss: Tensor
    timesteps: int


@dataclass(frozen=True)
class ModelParts:
    """What a served model needs besides its weights."""

    values: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: WordTokenizer | None = None


class Work(Protocol):
    """One task with its data and its network. Batch `index` of an epoch is a pure function of seed,
    epoch, index and carried state."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def criterion(self) -> str:
        """The held-out metric that decides which weights are best; smaller is better."""
        ...

    def batch_loss(self, epoch: int, index: int) -> BatchLoss:
        """The loss of one batch. Within an epoch, indices come in order."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Metrics on the held-out part."""
        ...

    def test(self) -> dict[str, float]:
        """Metrics on the test part, named test_...; empty if the data has none."""
        ...

    def carried_state(self) -> dict[str, Tensor]:
        """What one batch hands to the next; empty for most tasks."""
        ...

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None: ...

    def model_parts(self) -> ModelParts: ...
