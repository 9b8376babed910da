"""Sizes of a language model's parts, known before it is built. Needs no torch."""

from rnn.config import GenerationConfig, GenerationData
from rnn.sizes import stack_parameters, vocabulary_limit

ADAPTIVE_DIVISOR = 4  # the vectors of each rarer group are so much smaller


def part_sizes(total: int, data: GenerationData) -> tuple[int, int, int]:
    """How much of a text is for training, validation and test, in this order."""
    validation = int(total * data.validation_fraction)
    test = int(total * data.test_fraction)
    return total - validation - test, validation, test


def adaptive_cutoffs(vocabulary_size: int) -> list[int]:
    """Where the groups of an adaptive softmax end: the most frequent tenth of the tokens, and a
    third."""
    tenth, third = max(1, vocabulary_size // 10), vocabulary_size // 3
    return [tenth, third] if third > tenth else [tenth]


def generation_parameters(config: GenerationConfig) -> int:
    """Weights of the network: exactly for bytes, otherwise with as many tokens as there may be."""
    architecture, vocabulary = config.architecture, vocabulary_limit(config.data)
    size = architecture.embedding_size
    stack = stack_parameters(architecture, size)
    return vocabulary * size + stack + _head_parameters(config, vocabulary)


def _head_parameters(config: GenerationConfig, vocabulary: int) -> int:
    architecture = config.architecture
    size, hidden = architecture.embedding_size, architecture.hidden_size
    match architecture.softmax:
        case "full" if architecture.tied:
            projection = 0 if size == hidden else size * hidden
            return projection + vocabulary
        case "full":
            return vocabulary * (hidden + 1)
        case "mixture":
            components = architecture.mixture_components
            mixed = hidden * components + (hidden + 1) * components * size
            return mixed + vocabulary * (1 if architecture.tied else size + 1)
        case "adaptive":
            return _adaptive_parameters(hidden, vocabulary)


def _adaptive_parameters(hidden: int, vocabulary: int) -> int:
    starts = adaptive_cutoffs(vocabulary)
    total = hidden * (starts[0] + len(starts))
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], vocabulary], strict=True)):
        width = hidden // ADAPTIVE_DIVISOR ** (index + 1)
        total += width * (hidden + end - start)
    return total
