"""What can be trained, as data: every choice with its range, default and meaning.

Importable without torch, so that a server can publish the schema and a worker can read a job
without paying for it. A configuration is resolved (every `None` that depends on the data filled
in) by `rnn.resolve` before it is stored, so a job's row says all that its trainer needs.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

TaskName = Literal["time-series-forecasting", "text-classification", "text-generation"]
CellName = Literal["rnn_tanh", "rnn_relu", "lstm", "gru", "mingru", "minlstm"]
OptimizerName = Literal["adamw", "adam", "sgd", "rmsprop"]
ScheduleName = Literal["constant", "cosine", "one_cycle"]
PrecisionName = Literal["auto", "float32", "bfloat16"]

# Trained quantile levels: enough for a 95 % interval and for interpolation between them.
QUANTILE_LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
GATES_PER_CELL: dict[CellName, int] = {
    "rnn_tanh": 1,
    "rnn_relu": 1,
    "lstm": 4,
    "gru": 3,
    "mingru": 2,
    "minlstm": 3,
}
# Their gates read the input alone: no recurrent weights, and a layer's timesteps can be scanned.
MINIMAL_CELLS: frozenset[CellName] = frozenset({"mingru", "minlstm"})
BYTE_VOCABULARY_SIZE = 256

MOST_EPOCHS = 10_000
MAX_SEED = 2**53 - 1  # the largest integer that every JSON reader keeps exact


class Config(BaseModel):
    """Strict and frozen: no unknown field, no conversion, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class ArchitectureConfig(Config):
    """The recurrent stack that every task shares."""

    cell: CellName = Field(
        "lstm",
        description="Recurrence of every layer. The gates of `mingru` and `minlstm` read the input "
        "alone: faster to train, with less to tell the past by.",
    )
    num_layers: int = Field(2, ge=1, le=16, description="Recurrent layers on top of each other.")
    hidden_size: int = Field(256, ge=1, le=4096, description="Units of each layer and direction.")
    dropout: float = Field(
        0.2, ge=0, lt=1, description="Share of units dropped between layers while training."
    )
    layer_norm: bool = Field(
        default=False, description="Layer normalisation of each recurrent layer's output."
    )
    residual: bool = Field(
        default=False,
        description="Adds a layer's input to its output wherever the widths are equal.",
    )


class ForecastingArchitecture(ArchitectureConfig):
    num_layers: int = Field(2, ge=1, le=16, description="Recurrent layers on top of each other.")
    hidden_size: int = Field(64, ge=1, le=4096, description="Units of each layer.")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of units dropped between layers while training."
    )


class ClassificationArchitecture(ArchitectureConfig):
    num_layers: int = Field(1, ge=1, le=16, description="Recurrent layers on top of each other.")
    hidden_size: int = Field(128, ge=1, le=4096, description="Units of each layer and direction.")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="Share of units dropped between layers while training."
    )
    bidirectional: bool = Field(
        default=True, description="Also reads each text backwards; padding is never read."
    )
    embedding_size: int = Field(128, ge=1, le=4096, description="Width of a word's vector.")


class GenerationArchitecture(ArchitectureConfig):
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of units dropped between layers while training."
    )
    embedding_size: int = Field(128, ge=1, le=4096, description="Width of a token's vector.")


class TrainingConfig(Config):
    """How the weights are found."""

    max_epochs: int | None = Field(
        None,
        ge=1,
        le=MOST_EPOCHS,
        description="Passes over the training part; null: more of them over less data, and enough "
        "for `max_steps` if that is set.",
    )
    max_steps: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Optimizer steps; the sooner limit ends the job."
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="Training time in minutes. Only ends a job sooner: for a longer one raise "
        "`max_epochs` or `max_steps` too.",
    )
    batch_size: int = Field(32, ge=1, le=65_536, description="Sequences in one optimizer step.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Peak rate of the schedule.")
    optimizer: OptimizerName = Field("adamw", description="Update rule.")
    schedule: ScheduleName = Field("cosine", description="Learning rate over the job's steps.")
    warmup_fraction: float = Field(
        0.02, ge=0, le=0.5, description="Share of the steps in which the rate rises from zero."
    )
    gradient_clip_norm: float | None = Field(
        1.0, gt=0, le=1e6, description="Largest norm of the gradient of one step; null: no limit."
    )
    weight_decay: float = Field(
        0.01, ge=0, le=10, description="L2 penalty; decoupled from the gradient under adamw."
    )
    l1_penalty: float = Field(0.0, ge=0, le=10, description="L1 penalty on the weight matrices.")
    early_stopping_patience: int | None = Field(
        5,
        ge=1,
        le=10_000,
        description="Validations without a better loss before the job ends; null: never.",
    )
    evaluations_per_epoch: int = Field(
        1, ge=1, le=1_000, description="Validations in one pass over the training part."
    )
    precision: PrecisionName = Field(
        "auto",
        description="Of the matrix products; weights, states and sums are float32. auto: bfloat16 "
        "where the device computes with it.",
    )
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Seed of weights, order and dropout.")


class ForecastingTraining(TrainingConfig):
    batch_size: int = Field(64, ge=1, le=65_536, description="Windows in one optimizer step.")
    learning_rate: float = Field(2e-3, gt=0, le=10, description="Peak rate of the schedule.")
    windows_per_epoch: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Training windows drawn in an epoch; null: chosen from the data's size.",
    )


class ClassificationTraining(TrainingConfig):
    learning_rate: float = Field(2e-3, gt=0, le=10, description="Peak rate of the schedule.")
    early_stopping_patience: int | None = Field(
        3, ge=1, le=10_000, description="Validations without a better loss before the job ends."
    )


class GenerationTraining(TrainingConfig):
    learning_rate: float = Field(4e-3, gt=0, le=10, description="Peak rate of the schedule.")
    bptt_length: int = Field(
        128,
        ge=1,
        le=10_000,
        description="Timesteps that a gradient flows back (truncated back-propagation).",
    )
    carry_state: bool = Field(
        default=True,
        description="Starts each segment from the hidden state that the one before it ended with.",
    )


class ForecastingData(Config):
    """Which columns to read and what to predict. `null` means: found in the data set."""

    target_column: str | None = Field(None, min_length=1, max_length=200)
    time_column: str | None = Field(None, min_length=1, max_length=200)
    series_column: str | None = Field(None, min_length=1, max_length=200)
    horizon: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Timesteps predicted; null: two seasons, at most 48; or 12.",
    )
    context_length: int | None = Field(
        None, ge=1, le=100_000, description="Timesteps read before the forecast; null: from both."
    )
    season_length: int | None = Field(
        None, ge=1, le=10_000, description="Timesteps in one season; null: from the data; 1: none."
    )


class ClassificationData(Config):
    """Which columns to read. `null` means: found in the data set."""

    text_column: str | None = Field(None, min_length=1, max_length=200)
    label_column: str | None = Field(None, min_length=1, max_length=200)
    split_column: str | None = Field(
        None, min_length=1, max_length=200, description="Holds train, validation or test."
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share held out by label where the data set has no split."
    )
    vocabulary_size: int = Field(20_000, ge=10, le=1_000_000, description="Most frequent words.")
    min_frequency: int = Field(2, ge=1, le=1_000, description="Rarer words are unknown words.")
    max_tokens: int = Field(512, ge=1, le=100_000, description="Longer texts are cut and flagged.")


class GenerationData(Config):
    text_column: str | None = Field(
        None, min_length=1, max_length=200, description="For tables; plain text has none."
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share at the end of the text that is held out."
    )


class ForecastingConfig(Config):
    task: Literal["time-series-forecasting"]
    architecture: ForecastingArchitecture = ForecastingArchitecture()
    training: ForecastingTraining = ForecastingTraining()
    data: ForecastingData = ForecastingData()


class ClassificationConfig(Config):
    task: Literal["text-classification"]
    architecture: ClassificationArchitecture = ClassificationArchitecture()
    training: ClassificationTraining = ClassificationTraining()
    data: ClassificationData = ClassificationData()


class GenerationConfig(Config):
    task: Literal["text-generation"]
    architecture: GenerationArchitecture = GenerationArchitecture()
    training: GenerationTraining = GenerationTraining()
    data: GenerationData = GenerationData()


TaskConfig = Annotated[
    ForecastingConfig | ClassificationConfig | GenerationConfig, Field(discriminator="task")
]
