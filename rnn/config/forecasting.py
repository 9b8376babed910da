"""What a forecasting job can choose."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from rnn.config.architecture import ArchitectureConfig, ConvolutionConfig
from rnn.config.base import Config, PresetName
from rnn.config.serving import ServingConfig
from rnn.config.training import TrainingConfig

# Trained quantile levels: enough for a 95 % interval and for interpolation between them.
QUANTILE_LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)


ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
PositiveLag = Annotated[int, Field(ge=1, le=10_000)]
DistributionName = Literal["quantile", "student_t", "negative_binomial", "point"]
DecodingName = Literal["direct", "recursive", "segments"]
ScalingName = Literal["mean", "last", "robust"]
MOST_STATIC_WORDS = 256
FREQUENCY = r"^([1-9][0-9]{0,5})(s|m|h|d|w|mo|q|y)$"


class StaticColumn(Config):
    """How a static covariate is coded: one of some words, or a number brought to a common size."""

    column: ColumnName
    words: list[str] | None = Field(
        None, max_length=MOST_STATIC_WORDS, description="null: the column holds numbers."
    )
    location: float = 0.0
    scale: float = Field(1.0, gt=0)


class ForecastingArchitecture(ArchitectureConfig):
    num_layers: int = Field(2, ge=1, le=16, description="Recurrent layers on top of each other.")
    hidden_size: int = Field(64, ge=1, le=4096, description="Units of each layer.")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of units dropped between layers while training."
    )
    convolution: ConvolutionConfig | None = Field(
        None, description="Convolutions before the recurrent layers."
    )
    distribution: DistributionName = Field(
        "quantile",
        description="What is predicted at each timestep: quantiles, the parameters of a "
        "distribution, or one value.",
    )
    decoding: DecodingName = Field(
        "direct",
        description="direct: all future timesteps from the state; recursive: one after the other, "
        "each read before the next; segments: the series is read and decoded in segments.",
    )
    segment_length: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Timesteps of a segment; null: from the context. For `segments`.",
    )
    linear: bool = Field(
        default=False,
        description="Adds a linear map of the context's values to what the recurrent layers say. "
        "For `segments`.",
    )


class ForecastingTraining(TrainingConfig):
    batch_size: int = Field(64, ge=1, le=65_536, description="Windows in one optimizer step.")
    learning_rate: float = Field(2e-3, gt=0, le=10, description="Peak rate of the schedule.")
    windows_per_epoch: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Training windows drawn in an epoch; null: chosen from the data's size.",
    )


class ForecastingData(Config):
    """Which columns to read and what to predict. `null` means: found in the data set."""

    target_column: str | None = Field(None, min_length=1, max_length=200)
    target_columns: list[ColumnName] | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="Instead of target_column: numeric columns of one table, each a series named "
        'after its column; ["*"]: all that are left.',
    )
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
    past_covariates: list[ColumnName] = Field(
        default_factory=list,
        max_length=64,
        description="Numeric columns known up to the forecast.",
    )
    future_covariates: list[ColumnName] = Field(
        default_factory=list,
        max_length=64,
        description="Numeric columns known over the forecast too, such as holidays or prices.",
    )
    static_covariates: list[ColumnName] = Field(
        default_factory=list,
        max_length=64,
        description="Columns with one value a series, numbers or words.",
    )
    static_columns: list[StaticColumn] | None = Field(
        None,
        max_length=64,
        description="How each of them is coded, in their order; null: from the data.",
    )
    frequency: str | None = Field(
        None,
        pattern=FREQUENCY,
        description="Distance of two timesteps, such as 15m, 1h or 1mo; null: from the data.",
    )
    calendar: bool = Field(
        default=False,
        description="Reads where a timestep stands in its day, week, month and year, as far as "
        "that changes at the frequency. A forecast then needs the time of each series' first "
        "value.",
    )
    age: bool = Field(
        default=False, description="Reads how many timesteps after its series' start one stands."
    )
    lags: list[PositiveLag] = Field(
        default_factory=list,
        max_length=32,
        description="Timesteps back whose values are read beside the current one; empty: one "
        "season.",
    )
    scaling: ScalingName = Field(
        "mean",
        description="How a window is brought to a common size. mean: by its mean and mean absolute "
        "deviation; last: as differences from its last value, which are then also what is "
        "predicted, in units of the series' deviation so far; robust: by its median and "
        "interquartile range.",
    )
    validation_windows: int = Field(
        1, ge=1, le=100_000, description="Forecast origins held out to choose the weights by."
    )
    test_windows: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Forecast origins after those, at the end of each series, for the figures of "
        "the finished network.",
    )
    window_step: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Timesteps between two held-out origins; null: the horizon.",
    )
    conformal: bool = Field(
        default=False,
        description="Widens or narrows intervals until they cover the held-out windows as often as "
        "they say.",
    )

    @model_validator(mode="after")
    def _code_each_static_covariate(self) -> "ForecastingData":
        if self.static_columns is not None:
            coded = [column.column for column in self.static_columns]
            if coded != self.static_covariates:
                raise ValueError("static_columns must be those of static_covariates, in order")
        return self


class ForecastingConfig(Config):
    task: Literal["time-series-forecasting"]
    preset: PresetName = Field(
        "base", description="Which defaults fill in what is not chosen: how much is trained."
    )
    architecture: ForecastingArchitecture = ForecastingArchitecture()
    training: ForecastingTraining = ForecastingTraining()
    serving: ServingConfig = ServingConfig()
    data: ForecastingData = ForecastingData()
