"""Update rules, penalties, clipping and learning rates."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rnn.config import ScheduleName, TrainingConfig


def build_optimizer(network: nn.Module, config: TrainingConfig) -> Optimizer:
    """The chosen update rule over two groups: weight matrices, which decay, and biases, norms and
    single vectors, which do not."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, object]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
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


def learning_rate_at(step: int, total_steps: int, config: TrainingConfig) -> float:
    """The rate of the update number `step`, counted from 1; warm-up rises linearly over its share.

    A pure function, so there is no schedule to save.
    """
    warmup_steps = math.ceil(config.warmup_fraction * total_steps)
    if config.schedule == "one_cycle":
        # A third of the steps up, at least, as the method asks (Smith and Topin 2019).
        warmup_steps = max(warmup_steps, math.ceil(0.3 * total_steps))
    if step <= warmup_steps:
        return config.learning_rate * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return config.learning_rate * _decayed(config.schedule, progress)


_FLOOR = {"cosine": 0.01, "one_cycle": 0.0001}


def _decayed(schedule: ScheduleName, progress: float) -> float:
    if schedule == "constant":
        return 1.0
    floor = _FLOOR[schedule]
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def add_l1_gradient(parameters: Iterable[nn.Parameter], penalty: float) -> None:
    """Adds the gradient of penalty * sum |w| over the weight matrices."""
    for parameter in parameters:
        if parameter.ndim > 1 and parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=penalty)


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], largest_norm: float | None) -> Tensor:
    """The norm of all gradients together, which are scaled down where it passes the limit."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if largest_norm is not None:
        scale = (largest_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
    return norm


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
    for name, parameter in network.named_parameters():
        prefix = f"{name}/"
        found = {
            key.removeprefix(prefix): value.clone()
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
        if found:
            optimizer.state[parameter].update(found)
