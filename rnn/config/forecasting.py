"""What a forecasting job can choose."""

from typing import Literal

from pydantic import Field

from rnn.config.architecture import ArchitectureConfig
from rnn.config.base import Config
from rnn.config.training import TrainingConfig

# Trained quantile levels: enough for a 95 % interval and for interpolation between them.
QUANTILE_LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)


class ForecastingArchitecture(ArchitectureConfig):
    num_layers: int = Field(2, ge=1, le=16, description="Recurrent layers on top of each other.")
    hidden_size: int = Field(64, ge=1, le=4096, description="Units of each layer.")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of units dropped between layers while training."
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


class ForecastingConfig(Config):
    task: Literal["time-series-forecasting"]
    architecture: ForecastingArchitecture = ForecastingArchitecture()
    training: ForecastingTraining = ForecastingTraining()
    data: ForecastingData = ForecastingData()
