"""The tasks that can be trained, each as work for the one training loop."""

import torch

from rnn.checkpoint import Content
from rnn.classification.work import ClassificationWork
from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig, TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.determinism import Randomness
from rnn.errors import ConfigError
from rnn.forecasting.work import ForecastingWork
from rnn.generation.work import GenerationWork
from rnn.work import Work


def prepare(
    config: TaskConfig,
    examples: Examples,
    device: torch.device,
    randomness: Randomness,
    *,
    base: Content | None = None,
) -> Work:
    """The work that a resolved configuration asks for on these examples.

    Args:
        base: a model whose weights the network begins with; the configuration inherited from its
            own (`rnn.inherit`).
    """
    match config, examples:
        case ForecastingConfig(), SeriesExamples():
            return ForecastingWork(config, examples, device, randomness, base)
        case ClassificationConfig(), TextExamples():
            return ClassificationWork(config, examples, device, randomness, base)
        case GenerationConfig(), CorpusExamples():
            return GenerationWork(config, examples, device, randomness, base)
    raise ConfigError(f"{config.task} cannot learn from {type(examples).__name__}")
