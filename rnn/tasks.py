"""The tasks that can be trained, each as work for the one training loop."""

import torch

from rnn.classification.work import ClassificationWork
from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig, TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.determinism import Randomness
from rnn.errors import ConfigError
from rnn.forecasting.work import ForecastingWork
from rnn.generation.work import GenerationWork
from rnn.work import Work


def prepare(
    config: TaskConfig, examples: Examples, device: torch.device, randomness: Randomness
) -> Work:
    """The work that a resolved configuration asks for on these examples."""
    match config, examples:
        case ForecastingConfig(), SeriesExamples():
            return ForecastingWork(config, examples, device, randomness)
        case ClassificationConfig(), TextExamples():
            return ClassificationWork(config, examples, device, randomness)
        case GenerationConfig(), CorpusExamples():
            return GenerationWork(config, examples, device, randomness)
    raise ConfigError(f"{config.task} cannot learn from {type(examples).__name__}")
