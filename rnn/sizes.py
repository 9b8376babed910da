"""What resolving a configuration needs for every task: lengths of a training, sizes of a stack."""

from rnn.config import (
    BYTE_VOCABULARY_SIZE,
    GATES_PER_CELL,
    MOST_EPOCHS,
    ArchitectureConfig,
    ClassificationData,
    ConvolutionConfig,
    GenerationData,
    TrainingConfig,
)
from rnn.config.base import TextTokenizerName
from rnn.errors import DataTooSmallError

MOST_DEFAULT_EPOCHS = 100

# What a token usually stands for: only the trainer knows how many tokens a text has.
USUAL_BYTES: dict[TextTokenizerName, int] = {"byte": 1, "character": 1, "bpe": 4, "word": 6}


def tokens_of_words(words: int, tokenizer: TextTokenizerName) -> int:
    """Tokens that as much text as so many words usually has."""
    return words * USUAL_BYTES["word"] // USUAL_BYTES[tokenizer]


def vocabulary_limit(data: ClassificationData | GenerationData) -> int:
    """Tokens that there may be; of bytes, exactly."""
    return BYTE_VOCABULARY_SIZE if data.tokenizer == "byte" else data.vocabulary_size


def stack_parameters(
    config: ArchitectureConfig, input_size: int, *, bidirectional: bool = False
) -> int:
    """Weights of `rnn.stack.RecurrentStack`, exactly."""
    directions = 2 if bidirectional else 1
    width = directions * config.hidden_size
    total = 0
    for _ in range(config.num_layers):
        total += directions * _direction_parameters(config, input_size)
        if config.pre_norm:
            total += 2 * input_size
        if config.layer_norm:
            total += 2 * width
        input_size = input_size + width if config.dense else width
    if config.pre_norm:
        total += 2 * width
    return total


def _direction_parameters(config: ArchitectureConfig, input_size: int) -> int:
    hidden, heads = config.hidden_size, config.num_heads
    match config.cell:
        case "lstm" if config.peephole or config.mogrifier_rounds:
            rounds = config.mogrifier_rounds * input_size * hidden
            peepholes = 3 * hidden if config.peephole else 0
            return 4 * hidden * (input_size + hidden + 1) + peepholes + rounds
        case "layer_norm_lstm":
            gains_and_biases = 14 * hidden
            return 4 * hidden * (input_size + hidden) + gains_and_biases
        case "indrnn":
            return hidden * (input_size + 2)
        case "slstm":
            return 4 * hidden * (input_size + 1 + hidden // heads)
        case "mlstm":
            return (4 * hidden + 2 * heads) * (input_size + 1) + hidden
        case "rglru":
            return hidden * (input_size + 2 * hidden + 4)
        case "mingru" | "minlstm":
            return GATES_PER_CELL[config.cell] * hidden * (input_size + 1)
        case "lstm" | "gru" | "rnn_tanh" | "rnn_relu":
            return GATES_PER_CELL[config.cell] * hidden * (input_size + hidden + 2)


def convolution_parameters(config: ConvolutionConfig, input_size: int) -> int:
    """Weights of `rnn.convolution.ConvolutionFront`, exactly."""
    inputs = input_size + (config.num_layers - 1) * config.channels  # of all layers together
    return config.channels * (config.kernel_size * inputs + config.num_layers)


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
