"""What every part of a configuration shares."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

PresetName = Literal["small", "base", "large"]
TaskName = Literal["time-series-forecasting", "text-classification", "text-generation"]
TextTokenizerName = Literal["byte", "character", "word", "bpe"]

BYTE_VOCABULARY_SIZE = 256
SMALLEST_BPE_VOCABULARY_SIZE = BYTE_VOCABULARY_SIZE + 4

MOST_EPOCHS = 10_000
MAX_SEED = 2**53 - 1  # the largest integer that every JSON reader keeps exact


class Config(BaseModel):
    """Strict and frozen: no unknown field, no conversion, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
