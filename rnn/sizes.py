"""What resolving a configuration needs for every task: lengths of a training, sizes of a stack."""

from rnn.config import (
    GATES_PER_CELL,
    MINIMAL_CELLS,
    MOST_EPOCHS,
    ArchitectureConfig,
    TrainingConfig,
)
from rnn.errors import DataTooSmallError

MOST_DEFAULT_EPOCHS = 100


def stack_parameters(
    config: ArchitectureConfig, input_size: int, *, bidirectional: bool = False
) -> int:
    directions = 2 if bidirectional else 1
    hidden = config.hidden_size
    total = 0
    for _ in range(config.num_layers):
        gates = GATES_PER_CELL[config.cell] * hidden
        recurrent = 0 if config.cell in MINIMAL_CELLS else hidden + 1
        total += directions * gates * (input_size + 1 + recurrent)
        input_size = directions * hidden
        if config.layer_norm:
            total += 2 * input_size
    return total


def training_length(
    training: TrainingConfig,
    steps_per_epoch: int,
    fewest_steps_per_epoch: int,
    *,
    fewest_epochs: int,
    steps: int,
) -> dict[str, int | None]:
    """Epochs that make up enough steps, the chosen ones too, unless chosen themselves; patience in
    proportion, unless chosen."""
    if training.max_epochs is not None:
        return {}
    epochs = min(MOST_DEFAULT_EPOCHS, max(fewest_epochs, -(-steps // steps_per_epoch)))
    if training.max_steps is not None:
        wanted = max(epochs, -(-training.max_steps // fewest_steps_per_epoch))
        epochs = min(MOST_EPOCHS, wanted)
    if "early_stopping_patience" in training.model_fields_set:
        return {"max_epochs": epochs}
    patience = max(training.early_stopping_patience or 0, epochs // 4)
    return {"max_epochs": epochs, "early_stopping_patience": patience}


def fitting_batch_size(training: TrainingConfig, available: int, what: str) -> int:
    if training.batch_size <= available:
        return training.batch_size
    if "batch_size" in training.model_fields_set:
        raise DataTooSmallError(
            f"batch_size {training.batch_size} is more than the data's {available} {what}"
        )
    return available
