"""Update rules, penalties, clipping and learning rates."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rnn.config import ScheduleName, TrainingConfig
from rnn.precision import float32_or_better
from rnn.stack import StackOutputs
from rnn.work import WHOLE, Share


def build_optimizer(
    network: nn.Module,
    config: TrainingConfig,
    layer_groups: Sequence[Sequence[nn.Parameter]] | None = None,
) -> Optimizer:
    """The chosen update rule. Weight matrices decay; biases, norms and single vectors do not.

    Args:
        layer_groups: every parameter once, from the input to the output. Each group learns at the
            rate of the one above it times `layer_rate_decay` (Howard and Ruder 2018). None: all
            are one group.
    """
    groups: list[dict[str, object]] = []
    for depth, layer in enumerate(reversed(layer_groups or [list(network.parameters())])):
        share = {"rate_share": config.layer_rate_decay**depth}
        matrices = [parameter for parameter in layer if parameter.ndim > 1]
        others = [parameter for parameter in layer if parameter.ndim <= 1]
        if matrices:
            groups.append({"params": matrices, "weight_decay": config.weight_decay, **share})
        if others:
            groups.append({"params": others, "weight_decay": 0.0, **share})
    rate = config.learning_rate
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=rate, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=0.9)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=rate)


def freeze_below(layer_groups: Sequence[Sequence[nn.Parameter]], learning: int) -> None:
    """Lets the so many groups at the output learn, at least one, and no other (gradual unfreezing,
    Howard and Ruder 2018)."""
    first = len(layer_groups) - max(1, learning)
    for index, group in enumerate(layer_groups):
        for parameter in group:
            parameter.requires_grad_(index >= first)
            if index < first:
                parameter.grad = None


# A third of the steps up, as one cycle asks (Smith and Topin 2019); a tenth of them, and down to a
# 32nd of the peak, as the slanted triangle does (Howard and Ruder 2018).
_LEAST_WARMUP: dict[ScheduleName, float] = {"one_cycle": 0.3, "slanted_triangular": 0.1}
_FLOOR: dict[ScheduleName, float] = {
    "cosine": 0.01,
    "one_cycle": 0.0001,
    "slanted_triangular": 1 / 32,
}


def learning_rate_at(step: int, total_steps: int, config: TrainingConfig) -> float:
    """The rate of the update number `step`, counted from 1; warm-up rises linearly over its share.

    A pure function, so there is no schedule to save.
    """
    least_warmup = _LEAST_WARMUP.get(config.schedule, 0.0)
    warmup_steps = math.ceil(max(config.warmup_fraction, least_warmup) * total_steps)
    if step <= warmup_steps:
        return config.learning_rate * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return config.learning_rate * _decayed(config.schedule, progress)


def _decayed(schedule: ScheduleName, progress: float) -> float:
    if schedule == "constant":
        return 1.0
    floor, progress = _FLOOR[schedule], min(1.0, progress)
    if schedule == "slanted_triangular":
        return floor + (1 - floor) * (1 - progress)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Each group of parameters learns at its share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_share"]


@torch.no_grad()
def add_l1_gradient(parameters: Iterable[nn.Parameter], penalty: float) -> None:
    """Adds the gradient of penalty * sum |w| over the weight matrices."""
    for parameter in parameters:
        if parameter.ndim > 1 and parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=penalty)


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[nn.Parameter],
    largest_norm: float | None,
    largest_value: float | None = None,
) -> Tensor:
    """The norm of all gradients together, before they are clipped: value by value, then scaled down
    together where their norm passes its limit."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = clipped_norm = torch.nn.utils.get_total_norm(gradients)
    if largest_value is not None:
        torch._foreach_clamp_min_(gradients, -largest_value)
        torch._foreach_clamp_max_(gradients, largest_value)
        clipped_norm = torch.nn.utils.get_total_norm(gradients)
    if largest_norm is not None:
        scale = (largest_norm / (clipped_norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
    return norm


def activation_penalty(
    outputs: StackOutputs, config: TrainingConfig, share: Share = WHOLE
) -> Tensor:
    """What large outputs of the stack cost, and outputs that change from timestep to timestep
    (activation and temporal activation regularisation, Merity, McCann and Socher 2017). Outputs on
    padding do not count.

    Args:
        share: of the batch, that the outputs are.
    """
    dropped_bth = float32_or_better(outputs.dropped_bth)
    raw_bth = float32_or_better(outputs.raw_bth)
    squares_bt = dropped_bth.square().mean(2)
    changes_bt = (raw_bth[:, 1:] - raw_bth[:, :-1]).square().mean(2)
    present_bt = torch.ones_like(squares_bt, dtype=torch.bool)
    if outputs.lengths_b is not None:
        time_t = torch.arange(squares_bt.shape[1], device=squares_bt.device)
        present_bt = time_t < outputs.lengths_b.to(squares_bt.device)[:, None]
    later_bt = present_bt[:, 1:]
    size = torch.where(present_bt, squares_bt, 0).sum() / present_bt.sum()
    change = torch.where(later_bt, changes_bt, 0).sum() / later_bt.sum().clamp(min=1)
    size_rate = config.activation_penalty * share.outputs
    return size_rate * size + config.temporal_activation_penalty * share.changes * change


def optimizer_tensors(optimizer: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimizer's memory, named by parameter and quantity."""
    tensors = {}
    for name, parameter in network.named_parameters():
        for quantity, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{quantity}"] = value
    return tensors


def load_optimizer_tensors(
    optimizer: Optimizer, network: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Gives back what `optimizer_tensors` took."""
    optimizer.state.clear()
    for name, parameter in network.named_parameters():
        prefix = f"{name}/"
        found = {
            key.removeprefix(prefix): value.clone()
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
        if found:
            optimizer.state[parameter].update(found)
