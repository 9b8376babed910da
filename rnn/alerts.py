"""What the figures of a look warn of, and what may help."""

import math
from dataclasses import dataclass

from rnn.config import ArchitectureConfig
from rnn.config.architecture import CELLS_WITH_CHRONO
from rnn.events import Alert, AlertKind, LayerFigures

# Of the gradient of one timestep before the end, what is left this many before it: an LSTM whose
# forget gates begin at sigmoid(1) still has a hundredth, and learns; less than a thousandth is lost
# beside what nearer timesteps teach.
VANISHING_LAG = 16
VANISHING_SHARE = 1e-3
# A gradient that has grown so far on its way would be clipped to nothing useful.
EXPLODING_FACTOR = 100.0
# Mean of the layer's gates. Gates that hold or forget by design are some of a layer's, never all.
SATURATED_SHARE = 0.9


@dataclass(frozen=True)
class Finding:
    """An alert before it is told."""

    kind: AlertKind
    layer: int
    message: str
    remedy: str

    @property
    def place(self) -> tuple[AlertKind, int | None]:
        return self.kind, self.layer

    def alert(self, step: int) -> Alert:
        return Alert(step, self.kind, self.layer, self.message, self.remedy)


def findings(layers: list[LayerFigures], config: ArchitectureConfig) -> list[Finding]:
    """What is wrong in which layer."""
    each = (check(figures, config) for figures in layers for check in (_exploding, _saturated))
    found = (_vanishing(layers, config), *each)
    return [finding for finding in found if finding is not None]


def diverged(step: int, failure: str, rollbacks: int, most: int, rate_factor: float) -> Alert:
    """After a rollback: what was done about it."""
    return Alert(
        step,
        "diverged",
        None,
        f"{failure}; went back to the last good state and goes on with {rate_factor:g} times the "
        f"rate (rollback {rollbacks} of {most})",
        "a smaller learning_rate, a longer warm-up (warmup_fraction) or a gradient_clip_norm",
    )


def _vanishing(layers: list[LayerFigures], config: ArchitectureConfig) -> Finding | None:
    """Of the layer that carries the gradient furthest: a stack remembers as long as one of its
    layers does."""
    left = [(share, figures.layer) for figures in layers if (share := _left(figures)) is not None]
    if not left or max(left)[0] >= VANISHING_SHARE:
        return None
    share, layer = max(left)
    if config.cell in ("rnn_tanh", "rnn_relu"):
        remedy = "a gated cell such as lstm or gru carries gradients further"
    elif config.cell in CELLS_WITH_CHRONO and config.chrono_length is None:
        remedy = "chrono_length: the timesteps that the memory should span"
    else:
        remedy = "a cell with a longer memory such as rglru, or residual connections"
    return Finding(
        "vanishing",
        layer,
        f"layer {layer}, which carries the gradient furthest: {VANISHING_LAG} timesteps back "
        f"{share:.1g} of it are left; what lies further back is hardly learned",
        remedy,
    )


def _left(figures: LayerFigures) -> float | None:
    """None where the rows are shorter, or no gradient reaches the layer at all, or it explodes."""
    near, far = figures.gradient_norms.get(1), figures.gradient_norms.get(VANISHING_LAG)
    if not near or far is None or not math.isfinite(near + far):
        return None
    return far / near


def _exploding(figures: LayerFigures, config: ArchitectureConfig) -> Finding | None:
    near = figures.gradient_norms.get(1)
    largest = max(figures.gradient_norms.values(), default=0.0)
    finite = math.isfinite(sum(figures.gradient_norms.values()))
    if finite and (not near or largest <= EXPLODING_FACTOR * near):
        return None
    by = f"{largest / near:.1g} times" if finite and near else "beyond all numbers"
    clipped = "a smaller learning_rate, or recurrent_init orthogonal"
    if config.cell in ("rnn_tanh", "rnn_relu"):
        clipped += ", or a gated cell such as lstm or gru"
    return Finding(
        "exploding",
        figures.layer,
        f"layer {figures.layer}: the gradient grows {by} on its way back through time",
        f"a gradient_clip_norm (1.0 or less); {clipped}",
    )


def _saturated(figures: LayerFigures, config: ArchitectureConfig) -> Finding | None:
    shares = figures.gate_saturation.values()
    # The spread of a chrono start opens and closes gates on purpose.
    if not shares or config.chrono_length is not None:
        return None
    mean = sum(shares) / len(shares)
    if mean < SATURATED_SHARE:
        return None
    return Finding(
        "saturated",
        figures.layer,
        f"layer {figures.layer}: {mean:.0%} of the gates' activations lie at their ends, where "
        "they hardly learn",
        "a smaller learning_rate or forget_bias, more weight_decay, or layer_norm_lstm",
    )
