"""Stacks of every shape, and what they answer when computed in float64 one timestep at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.cells import CELLS, CellState, CellWeights
from rnn.config import ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.kernels.inference import NativeNetwork
from rnn.kernels.library import Library, Precision
from rnn.layers import RecurrentLayer
from rnn.stack import RecurrentStack, layer_state, stacked_state
from rnn.state import HiddenState

# From here on a table of one unit's input products is over the 32 MiB up to which it is made, at
# every level: a plain LSTM has 64 bytes a token, the others more.
UNFOLDED_VOCABULARY = (32 << 20) // 64 + 1


@dataclass(frozen=True)
class Case:
    """One network and one ragged batch for it.

    Attributes:
        features: of a timestep; where there is a vocabulary, of a token's vector.
        vocabulary: 0: the inputs are numbers.
        outputs: of the output layer; 0: there is none.
    """

    lengths: tuple[int, ...]
    cell: CellName = "lstm"
    hidden_size: int = 17
    features: int = 5
    num_layers: int = 1
    bidirectional: bool = False
    layer_norm: bool = False
    residual: bool = False
    vocabulary: int = 0
    outputs: int = 0
    seed: int = 0

    @property
    def rows(self) -> int:
        return len(self.lengths)


class Example:
    """A case's weights, inputs and start state, drawn from its seed."""

    def __init__(self, case: Case) -> None:
        random = Randomness(case.seed, torch.device("cpu"))
        generator = random.weights
        config = ArchitectureConfig(
            cell=case.cell,
            num_layers=case.num_layers,
            hidden_size=case.hidden_size,
            layer_norm=case.layer_norm,
            residual=case.residual,
        )
        self.case = case
        self.stack = RecurrentStack(
            config, case.features, random, bidirectional=case.bidirectional
        ).requires_grad_(requires_grad=False)
        for name, parameter in self.stack.named_parameters():
            if "bias" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        timesteps = max(case.lengths, default=1)
        self.lengths_b = torch.tensor(case.lengths, dtype=torch.int64)
        self.embedding_vd = None
        self.output = None
        shape = (case.rows, timesteps)
        if case.vocabulary:
            self.embedding_vd = torch.randn(case.vocabulary, case.features, generator=generator)
            self.x = torch.randint(case.vocabulary, shape, generator=generator)
        else:
            self.x = torch.randn(*shape, case.features, generator=generator)
        if case.outputs:
            self.output = nn.Linear(self.stack.output_size, case.outputs)
            self.output.requires_grad_(requires_grad=False)
            for parameter in self.output.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        shape = (case.num_layers, case.rows, case.hidden_size)
        self.start = HiddenState(
            torch.randn(shape, generator=generator).tanh(),
            torch.randn(shape, generator=generator) if case.cell == "lstm" else None,
        )

    def network(self, library: Library, precision: Precision = "float32") -> NativeNetwork:
        return NativeNetwork(
            library,
            self.stack,
            embedding_vd=self.embedding_vd,
            output=self.output,
            precision=precision,
        )

    def inputs(self) -> Tensor:
        """The numbers [B, T, D] that the stack reads."""
        return self.x if self.embedding_vd is None else self.embedding_vd[self.x]

    def reference(
        self, start: HiddenState | None = None, precision: Precision = "float32"
    ) -> tuple[Tensor, HiddenState]:
        """Outputs [B, T, H], zero on padding, and the forward direction's states at the rows'
        ends.

        Args:
            precision: that weights and what they are multiplied with are rounded to; all else is
                float64.
        """
        x_btd = self.inputs().double()
        ends = []
        layers = self.stack.recurrent_layers()
        for index, (layer, norm) in enumerate(zip(layers, self.stack.norms, strict=True)):
            layer_start = None if start is None else layer_state(start, index)
            folded = index == 0 and 0 < self.case.vocabulary < UNFOLDED_VOCABULARY
            numbers = (precision, "float32" if folded else precision)
            y_bth, end = _directions(layer, x_btd, layer_start, self.lengths_b, numbers)
            ends.append(end)
            if isinstance(norm, nn.LayerNorm):
                weight_h, bias_h = norm.weight.double(), norm.bias.double()
                y_bth = functional.layer_norm(y_bth, weight_h.shape, weight_h, bias_h, norm.eps)
            x_btd = x_btd + y_bth if self.case.residual and x_btd.shape == y_bth.shape else y_bth
        padding_bt = torch.arange(x_btd.shape[1]) >= self.lengths_b[:, None]
        return x_btd.masked_fill(padding_bt[:, :, None], 0), stacked_state(ends)

    def scores(self, y_bh: Tensor, precision: Precision = "float32") -> Tensor:
        """[B, outputs] after the output layer, where there is one."""
        if self.output is None:
            return y_bh
        product_bv = rounded(y_bh, precision) @ rounded(self.output.weight, precision).T
        return product_bv + self.output.bias.double()


def rounded(x: Tensor, precision: Precision) -> Tensor:
    """Numbers [..., K] as a product of this precision reads them."""
    if precision == "float32":
        return x.double()
    if precision == "bfloat16":
        return x.float().bfloat16().double()
    x = x.float()
    top = x.abs().amax(-1, keepdim=True) if x.numel() else x[..., :1]
    steps = torch.where(top > 0, (x * (127 / top)).round(), 0.0)
    return steps.double() * (top / 127).double()


def _directions(
    layer: RecurrentLayer,
    x_btd: Tensor,
    start: CellState | None,
    lengths_b: Tensor,
    numbers: tuple[Precision, Precision],
) -> tuple[Tensor, CellState]:
    y_bth, end = _direction(layer, x_btd, start, lengths_b, numbers, backwards=False)
    if layer.backwards is None:
        return y_bth, end
    reversed_bth, _ = _direction(layer, x_btd, None, lengths_b, numbers, backwards=True)
    return torch.cat([y_bth, reversed_bth], dim=2), end


def _direction(
    layer: RecurrentLayer,
    x_btd: Tensor,
    start: CellState | None,
    lengths_b: Tensor,
    numbers: tuple[Precision, Precision],
    *,
    backwards: bool,
) -> tuple[Tensor, CellState]:
    weights = layer.weights(backwards=backwards)
    rows, timesteps, _ = x_btd.shape
    hidden_size = layer.forwards.hidden_size
    if start is None:
        zeros_bh = torch.zeros(rows, hidden_size)
        start = CellState(zeros_bh, zeros_bh if layer.cell == "lstm" else None)
    hidden_bh = start.hidden_bh.double()
    cell_bh = None if start.memory_bm is None else start.memory_bm.double()
    y_bth = torch.zeros(rows, timesteps, hidden_size, dtype=torch.float64)
    for step in range(timesteps):
        alive_b = (lengths_b > step).nonzero()[:, 0]
        place_b = lengths_b[alive_b] - 1 - step if backwards else torch.full_like(alive_b, step)
        before = CellState(hidden_bh[alive_b], None if cell_bh is None else cell_bh[alive_b])
        after = _advance(layer.cell, x_btd[alive_b, place_b], before, weights, *numbers)
        y_bth[alive_b, place_b] = after.hidden_bh
        hidden_bh = hidden_bh.index_copy(0, alive_b, after.hidden_bh)
        if cell_bh is not None and after.memory_bm is not None:
            cell_bh = cell_bh.index_copy(0, alive_b, after.memory_bm)
    return y_bth, CellState(hidden_bh, cell_bh)


def _advance(
    cell: CellName,
    x_bd: Tensor,
    state: CellState,
    weights: CellWeights,
    precision: Precision,
    input_precision: Precision,
) -> CellState:
    """The reference cell; where products are rounded it gets them as biases of its rows."""
    input_weight_gd = weights.input_weight_gd.double()
    recurrent_weight_gh, recurrent_bias_g = weights.recurrent_weight_gh, weights.recurrent_bias_g
    if precision != "float32":
        input_weight_gd = rounded(weights.input_weight_gd, input_precision)
        bias_bg = rounded(x_bd, input_precision) @ input_weight_gd.T + weights.input_bias_g.double()
        x_bd, input_weight_gd = torch.zeros_like(x_bd), torch.zeros_like(input_weight_gd)
    else:
        bias_bg = weights.input_bias_g.double()
    if recurrent_weight_gh is None or recurrent_bias_g is None:
        return CELLS[cell](x_bd, state, CellWeights(input_weight_gd, None, bias_bg, None))
    recurrent_weight_gh, recurrent_bias_bg = recurrent_weight_gh.double(), recurrent_bias_g.double()
    if precision != "float32":
        product_bg = rounded(state.hidden_bh, precision) @ rounded(recurrent_weight_gh, precision).T
        recurrent_bias_bg = product_bg + recurrent_bias_bg
        recurrent_weight_gh = torch.zeros_like(recurrent_weight_gh)
    exact = CellWeights(input_weight_gd, recurrent_weight_gh, bias_bg, recurrent_bias_bg)
    return CELLS[cell](x_bd, state, exact)


def error(ours: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest magnitude of its row [..., H]. Rows that
    are nearly zero count as a tenth: states are of the size of one, and so are rounding errors."""
    if expected.numel() == 0:
        return 0
    largest = expected.abs().amax(-1, keepdim=True).clamp_min(0.1)
    return float(((ours - expected).abs() / largest).max())
