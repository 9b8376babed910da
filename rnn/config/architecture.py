"""The recurrent stack, as every task can choose it."""

from typing import Literal

from pydantic import Field

from rnn.config.base import Config

CellName = Literal["rnn_tanh", "rnn_relu", "lstm", "gru", "mingru", "minlstm"]

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
