"""How a finished network answers, as every task can choose it."""

from typing import Literal

from pydantic import Field

from rnn.config.base import Config

ServingPrecisionName = Literal["auto", "float32", "bfloat16", "int8"]


class ServingConfig(Config):
    """How the published version answers."""

    precision: ServingPrecisionName = Field(
        "auto",
        description="Of the recurrent layers' weights and of what they are multiplied with. auto: "
        "int8, else bfloat16, where the held-out loss stays within `max_loss_increase`, measured "
        "when the version is published; else float32.",
    )
    max_loss_increase: float = Field(
        0.001,
        ge=0,
        le=1,
        description="The share by which `auto` may make the held-out loss worse than in float32.",
    )
