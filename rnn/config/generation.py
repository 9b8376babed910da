"""What a generation job can choose."""

from typing import Any, Literal

from pydantic import Field, model_validator

from rnn.config.architecture import ArchitectureConfig, as_dropout
from rnn.config.base import (
    SMALLEST_BPE_VOCABULARY_SIZE,
    Config,
    PresetName,
    TextTokenizerName,
)
from rnn.config.serving import ServingConfig
from rnn.config.training import TrainingConfig

SoftmaxName = Literal["full", "adaptive", "mixture"]
TestEvaluationName = Literal["static", "cache", "dynamic"]

# The second group of rare tokens gets vectors of a sixteenth of the hidden size.
SMALLEST_ADAPTIVE_HIDDEN_SIZE = 16


class GenerationArchitecture(ArchitectureConfig):
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of units dropped between layers while training."
    )
    output_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the last layer's outputs dropped while training; not given: as "
        "`dropout`.",
    )
    embedding_size: int = Field(128, ge=1, le=4096, description="Width of a token's vector.")
    embedding_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of tokens whose vectors are dropped for each batch."
    )
    tied: bool = Field(
        default=False,
        description="One matrix for the vectors of tokens read and tokens predicted.",
    )
    softmax: SoftmaxName = Field(
        "full",
        description="adaptive: rare tokens get smaller vectors, faster with many tokens; mixture: "
        "a weighted mean of several distributions.",
    )
    mixture_components: int = Field(
        4, ge=2, le=32, description="Distributions of a mixture of softmaxes."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_dropout_for_all(cls, given: Any) -> Any:
        return as_dropout(given, "output_dropout")


class GenerationTraining(TrainingConfig):
    learning_rate: float = Field(4e-3, gt=0, le=10, description="Peak rate of the schedule.")
    bptt_length: int = Field(
        128,
        ge=1,
        le=10_000,
        description="Timesteps that a gradient flows back (truncated back-propagation).",
    )
    random_bptt: bool = Field(
        default=False,
        description="Varies the length of segments, and the rate with it.",
    )
    carry_state: bool = Field(
        default=True,
        description="Starts each segment from the hidden state that the one before it ended with.",
    )


class GenerationData(Config):
    text_column: str | None = Field(
        None, min_length=1, max_length=200, description="For tables; plain text has none."
    )
    split_column: str | None = Field(
        None, min_length=1, max_length=200, description="Holds train, validation or test."
    )
    tokenizer: TextTokenizerName = Field(
        "byte",
        description="word: between white space, a line's end is a token of its own; bpe: pieces of "
        "words, learned from the training part.",
    )
    vocabulary_size: int = Field(
        10_000,
        ge=SMALLEST_BPE_VOCABULARY_SIZE,
        le=1_000_000,
        description="Tokens at most, for character, word and bpe; the rarest are unknown.",
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share at the end of the text that is held out."
    )
    test_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share after that, at the very end, for the figures of the finished network.",
    )
    test_evaluations: list[TestEvaluationName] = Field(
        ["static"],
        max_length=3,
        description="How the test part is judged. static: by the network as it is published; "
        "cache: with a memory of the words read so far; dynamic: while it goes on learning from "
        "what it has read. The last two read the test part timestep by timestep.",
    )

    @model_validator(mode="after")
    def _something_is_learned_from(self) -> "GenerationData":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to learn from")
        return self


class GenerationConfig(Config):
    task: Literal["text-generation"]
    preset: PresetName = Field(
        "base", description="Which defaults fill in what is not chosen: how much is trained."
    )
    architecture: GenerationArchitecture = GenerationArchitecture()
    training: GenerationTraining = GenerationTraining()
    serving: ServingConfig = ServingConfig()
    data: GenerationData = GenerationData()

    @model_validator(mode="after")
    def _head_fits_the_tokens(self) -> "GenerationConfig":
        if self.architecture.softmax != "adaptive":
            return self
        if self.architecture.tied:
            raise ValueError("tied: an adaptive softmax has vectors of several widths")
        if self.data.tokenizer == "byte":
            raise ValueError("softmax: adaptive needs a tokenizer that orders tokens by frequency")
        if self.architecture.hidden_size < SMALLEST_ADAPTIVE_HIDDEN_SIZE:
            raise ValueError(
                f"hidden_size: adaptive needs {SMALLEST_ADAPTIVE_HIDDEN_SIZE} units at least"
            )
        return self
