"""The recurrent stack, as every task can choose it."""

from typing import Any, Literal

from pydantic import Field, model_validator

from rnn.config.base import Config

CellName = Literal[
    "rnn_tanh",
    "rnn_relu",
    "lstm",
    "gru",
    "layer_norm_lstm",
    "indrnn",
    "mingru",
    "minlstm",
    "slstm",
    "mlstm",
    "rglru",
]
RecurrentInitName = Literal["orthogonal", "identity", "uniform"]

# Gates whose products are stacked in one matrix, of the cells that `rnn.kernels` has.
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
# Their units work in groups that share no recurrent weights.
CELLS_WITH_HEADS: frozenset[CellName] = frozenset({"slstm", "mlstm"})
# Without a matrix from the hidden state to the gates there is none to drop from.
CELLS_WITHOUT_RECURRENT_MATRIX: frozenset[CellName] = frozenset(
    {"indrnn", "mingru", "minlstm", "mlstm", "rglru"}
)


class ConvolutionConfig(Config):
    """Convolutions over time before the recurrent layers, each followed by a rectifier."""

    num_layers: int = Field(1, ge=1, le=8, description="Convolutions on top of each other.")
    channels: int = Field(128, ge=1, le=4096, description="Filters of each convolution.")
    kernel_size: int = Field(5, ge=1, le=64, description="Timesteps that a filter sees.")
    pooling: int = Field(
        1,
        ge=1,
        le=16,
        description="After each convolution so many timesteps become one, their largest value.",
    )


def as_dropout(given: Any, *names: str) -> Any:
    """What a caller gave, with `dropout` for the other dropouts of these names that he left out: in
    configurations of before they had names of their own, it stood for all."""
    if not isinstance(given, dict) or "dropout" not in given:
        return given
    return {**dict.fromkeys(names, given["dropout"]), **given}


class ArchitectureConfig(Config):
    """The recurrent stack that every task shares."""

    cell: CellName = Field(
        "lstm",
        description="Recurrence of every layer. The gates of `mingru`, `minlstm`, `mlstm` and "
        "`rglru` do not read the hidden state: all timesteps of a layer train at once.",
    )
    num_layers: int = Field(2, ge=1, le=16, description="Recurrent layers on top of each other.")
    hidden_size: int = Field(256, ge=1, le=4096, description="Units of each layer and direction.")
    num_heads: int = Field(
        4, ge=1, le=64, description="Groups of units, for `slstm` and `mlstm`; divides hidden_size."
    )
    peephole: bool = Field(
        default=False, description="Gates of an `lstm` also read its memory cells."
    )
    mogrifier_rounds: int = Field(
        0,
        ge=0,
        le=10,
        description="Rounds in which input and hidden state of an `lstm` gate each other first.",
    )
    dropout: float = Field(
        0.2, ge=0, lt=1, description="Share of units dropped between layers while training."
    )
    input_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the first layer's inputs dropped while training."
    )
    output_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the last layer's outputs dropped while training."
    )
    locked_dropout: bool = Field(
        default=True,
        description="`dropout`, `input_dropout` and `output_dropout` drop the same units at all "
        "timesteps of a row (variational); else others at each.",
    )
    weight_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of recurrent weights dropped for each batch."
    )
    recurrent_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the hidden state that the gates do not see, the same units at all "
        "timesteps.",
    )
    zoneout: float = Field(
        0.0, ge=0, lt=1, description="Share of units that keep their last value at a timestep."
    )
    layer_norm: bool = Field(
        default=False, description="Layer normalisation of each recurrent layer's output."
    )
    pre_norm: bool = Field(
        default=False,
        description="Layer normalisation of each recurrent layer's input, and of the stack's "
        "output.",
    )
    residual: bool = Field(
        default=False,
        description="Adds a layer's input to its output wherever the widths are equal.",
    )
    dense: bool = Field(
        default=False, description="Each layer reads the outputs of all layers before it."
    )
    output_layers: Literal["last", "sum"] = Field(
        "last", description="Which layers' outputs leave the stack."
    )
    recurrent_init: RecurrentInitName = Field(
        "orthogonal", description="Recurrent weights at the start."
    )
    forget_bias: float = Field(
        1.0, ge=-10, le=20, description="Forget-gate bias of an LSTM at the start."
    )
    chrono_length: int | None = Field(
        None,
        ge=2,
        le=1_000_000,
        description="Spreads the gate biases at the start over memories of up to so many "
        "timesteps; an `indrnn` may double what it keeps over so many. null: no spread, no growth.",
    )

    @model_validator(mode="after")
    def _options_fit_the_cell(self) -> "ArchitectureConfig":
        if self.cell in CELLS_WITH_HEADS and self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        if self.cell == "mlstm" and self.hidden_size == self.num_heads:
            raise ValueError("mlstm needs two units or more in each of its num_heads")
        if self.cell == "mlstm" and self.zoneout:
            raise ValueError("zoneout: no timestep of mlstm reads the hidden state of the last one")
        for name, chosen in (
            ("peephole", self.peephole),
            ("mogrifier_rounds", self.mogrifier_rounds),
        ):
            if chosen and self.cell != "lstm":
                raise ValueError(f"{name} is an option of lstm, not of {self.cell}")
        for name, share in (
            ("weight_dropout", self.weight_dropout),
            ("recurrent_dropout", self.recurrent_dropout),
        ):
            if share and self.cell in CELLS_WITHOUT_RECURRENT_MATRIX:
                raise ValueError(f"{name}: {self.cell} has no recurrent matrix")
        if self.chrono_length is not None and self.cell not in CELLS_WITH_CHRONO:
            raise ValueError(f"chrono_length: {self.cell} has no gate that keeps its memory")
        if self.dense and self.residual:
            raise ValueError("dense and residual connections exclude each other")
        return self


CELLS_WITH_CHRONO: frozenset[CellName] = frozenset(
    {"lstm", "gru", "layer_norm_lstm", "indrnn", "mingru", "minlstm", "slstm"}
)
