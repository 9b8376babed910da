"""What can be trained, as data: every choice with its range, default and meaning.

Importable without torch, so that a server can publish the schema and a worker can read a job
without paying for it. A configuration is resolved (every `None` that depends on the data filled
in) by `rnn.resolve` before it is stored, so a job's row says all that its trainer needs.
"""

from typing import Annotated

from pydantic import Field

from rnn.config.architecture import (
    GATES_PER_CELL,
    MINIMAL_CELLS,
    ArchitectureConfig,
    CellName,
    ConvolutionConfig,
)
from rnn.config.base import (
    BYTE_VOCABULARY_SIZE,
    MAX_SEED,
    MOST_EPOCHS,
    Config,
    TaskName,
)
from rnn.config.classification import (
    ClassificationArchitecture,
    ClassificationConfig,
    ClassificationData,
    ClassificationTraining,
)
from rnn.config.forecasting import (
    QUANTILE_LEVELS,
    ForecastingArchitecture,
    ForecastingConfig,
    ForecastingData,
    ForecastingTraining,
)
from rnn.config.generation import (
    GenerationArchitecture,
    GenerationConfig,
    GenerationData,
    GenerationTraining,
)
from rnn.config.serving import ServingConfig
from rnn.config.training import (
    OptimizerName,
    PrecisionName,
    ScheduleName,
    TrainingConfig,
)

__all__ = [
    "BYTE_VOCABULARY_SIZE",
    "GATES_PER_CELL",
    "MAX_SEED",
    "MINIMAL_CELLS",
    "MOST_EPOCHS",
    "QUANTILE_LEVELS",
    "ArchitectureConfig",
    "CellName",
    "ClassificationArchitecture",
    "ClassificationConfig",
    "ClassificationData",
    "ClassificationTraining",
    "Config",
    "ConvolutionConfig",
    "ForecastingArchitecture",
    "ForecastingConfig",
    "ForecastingData",
    "ForecastingTraining",
    "GenerationArchitecture",
    "GenerationConfig",
    "GenerationData",
    "GenerationTraining",
    "OptimizerName",
    "PrecisionName",
    "ScheduleName",
    "ServingConfig",
    "TaskConfig",
    "TaskName",
    "TrainingConfig",
]

TaskConfig = Annotated[
    ForecastingConfig | ClassificationConfig | GenerationConfig, Field(discriminator="task")
]
