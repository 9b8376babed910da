"""What a classification job can choose."""

from typing import Any, Literal

from pydantic import Field, model_validator

from rnn.config.architecture import ArchitectureConfig, ConvolutionConfig, as_dropout
from rnn.config.base import (
    SMALLEST_BPE_VOCABULARY_SIZE,
    Config,
    PresetName,
    TextTokenizerName,
)
from rnn.config.serving import ServingConfig
from rnn.config.training import TrainingConfig

PoolingName = Literal["last", "max", "mean", "attention", "concatenated"]
TruncationName = Literal["start", "end", "both"]


class ClassificationArchitecture(ArchitectureConfig):
    num_layers: int = Field(1, ge=1, le=16, description="Recurrent layers on top of each other.")
    hidden_size: int = Field(128, ge=1, le=4096, description="Units of each layer and direction.")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="Share of units dropped between layers while training."
    )
    input_dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of the tokens' vectors dropped while training; not given: as `dropout`.",
    )
    output_dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of the text's vector dropped while training; not given: as `dropout`.",
    )
    embedding_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of tokens left out of a text while training."
    )
    convolution: ConvolutionConfig | None = Field(
        None, description="Convolutions before the recurrent layers."
    )
    pooling: PoolingName = Field(
        "concatenated",
        description="How a text's outputs become one vector. attention: a mean weighted by a "
        "learned query; concatenated: last, max and mean.",
    )
    bidirectional: bool = Field(
        default=True, description="Also reads each text backwards; padding is never read."
    )
    embedding_size: int = Field(128, ge=1, le=4096, description="Width of a token's vector.")

    @model_validator(mode="before")
    @classmethod
    def _one_dropout_for_all(cls, given: Any) -> Any:
        return as_dropout(given, "input_dropout", "output_dropout")


class ClassificationTraining(TrainingConfig):
    learning_rate: float = Field(2e-3, gt=0, le=10, description="Peak rate of the schedule.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each target given to all labels evenly."
    )
    early_stopping_patience: int | None = Field(
        3, ge=1, le=10_000, description="Validations without a better loss before the job ends."
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
    tokenizer: TextTokenizerName = Field(
        "word",
        description="word: lower-cased words and punctuation marks, of no use in scripts without "
        "spaces; character: as they are written; byte: of UTF-8; bpe: pieces of words, learned "
        "from the training part.",
    )
    vocabulary_size: int = Field(
        20_000,
        ge=10,
        le=1_000_000,
        description="Tokens at most, the most frequent, for word, character and bpe (from "
        f"{SMALLEST_BPE_VOCABULARY_SIZE}).",
    )
    min_frequency: int = Field(
        2,
        ge=1,
        le=1_000,
        description="Rarer words or characters are unknown; with bpe, rarer pairs are not joined.",
    )
    max_tokens: int = Field(
        512,
        ge=1,
        le=100_000,
        description="Longer texts are cut and flagged; not given: as much text as so many words, "
        "768 of bpe, 3072 characters or bytes.",
    )
    truncation: TruncationName = Field(
        "start", description="What is kept of a longer text; both: half from each end."
    )

    @model_validator(mode="after")
    def _pieces_have_their_bytes(self) -> "ClassificationData":
        if self.tokenizer == "bpe" and self.vocabulary_size < SMALLEST_BPE_VOCABULARY_SIZE:
            raise ValueError(
                f"vocabulary_size: bpe needs {SMALLEST_BPE_VOCABULARY_SIZE} tokens at least, for "
                "each byte is one"
            )
        return self


class ClassificationConfig(Config):
    task: Literal["text-classification"]
    preset: PresetName = Field(
        "base", description="Which defaults fill in what is not chosen: how much is trained."
    )
    architecture: ClassificationArchitecture = ClassificationArchitecture()
    training: ClassificationTraining = ClassificationTraining()
    serving: ServingConfig = ServingConfig()
    data: ClassificationData = ClassificationData()
