"""What a generation job can choose."""

from typing import Literal

from pydantic import Field

from rnn.config.architecture import ArchitectureConfig
from rnn.config.base import Config
from rnn.config.training import TrainingConfig


class GenerationArchitecture(ArchitectureConfig):
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of units dropped between layers while training."
    )
    embedding_size: int = Field(128, ge=1, le=4096, description="Width of a token's vector.")


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


class GenerationData(Config):
    text_column: str | None = Field(
        None, min_length=1, max_length=200, description="For tables; plain text has none."
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share at the end of the text that is held out."
    )


class GenerationConfig(Config):
    task: Literal["text-generation"]
    architecture: GenerationArchitecture = GenerationArchitecture()
    training: GenerationTraining = GenerationTraining()
    data: GenerationData = GenerationData()
