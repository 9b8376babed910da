"""The training loop: a function to read from top to bottom, which yields what happens.

Whoever iterates decides what to do with the events (print, store, stop); the loop knows nothing of
jobs, and its only clock is the caller's.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rnn.checkpoint import Content, read, write
from rnn.config import TaskConfig, TrainingConfig
from rnn.data.examples import Examples
from rnn.determinism import Randomness, use_reproducible_kernels, uses_bfloat16
from rnn.errors import CheckpointError, DivergedError
from rnn.events import (
    CheckpointDue,
    Control,
    Evaluated,
    Event,
    Finished,
    FinishReason,
    Started,
    StepDone,
    Stopped,
)
from rnn.optim import (
    add_l1_gradient,
    build_optimizer,
    clip_gradients,
    learning_rate_at,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from rnn.tasks import prepare
from rnn.work import Work

__all__ = ["Control", "train"]


@dataclass
class _Progress:
    """Where a training stands, besides its tensors."""

    step: int = 0
    seconds: float = 0.0
    best_value: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    evaluations_since_best: int = 0


def train(
    config: TaskConfig,
    examples: Examples,
    *,
    device: str,
    control: Control,
    resume: Path | None,
) -> Iterator[Event]:
    """Trains one network and yields its events, `Started` first, `Finished` or `Stopped` last.

    A training that is interrupted and resumed from its checkpoint takes, on a CPU, exactly the
    steps that it would have taken uninterrupted. It may go on on another kind of device, but then
    with other dropout and rounding.

    Args:
        config: resolved (`rnn.resolve`).
        device: as torch names it.
        control: asked between steps.
        resume: a checkpoint of the same configuration and examples.

    Raises:
        DivergedError: a loss or gradient is not finite; the update it belongs to was not made.
        DataTooSmallError: the examples leave nothing to learn from or to hold out.
        CheckpointError: the checkpoint cannot be used.
    """
    use_reproducible_kernels()
    training = config.training
    randomness = Randomness(training.seed, torch.device(device))
    work = prepare(config, examples, torch.device(device), randomness)
    network = work.network
    optimizer = build_optimizer(network, training)
    device_type = torch.device(device).type
    bfloat16 = uses_bfloat16(training.precision, device_type)
    progress, best_weights = _Progress(), _weights(work)
    if resume is not None:
        progress, best_weights = _restore(resume, config, work, optimizer, randomness)
    seconds_before = progress.seconds
    total_steps = _total_steps(training, work.steps_per_epoch)

    def save_checkpoint(folder: Path) -> None:
        progress.seconds = seconds_before + control.elapsed_seconds()
        write(folder, _checkpoint(config, work, optimizer, randomness, progress, best_weights))

    def save_model(folder: Path) -> None:
        parts = work.model_parts()
        write(folder, Content("model", config, parts.values, best_weights, parts.tokenizer))

    yield Started(parameter_count(network), total_steps, progress.step)

    reason: FinishReason | None = None
    while reason is None:
        epoch, index = divmod(progress.step, work.steps_per_epoch)
        rate = learning_rate_at(progress.step + 1, total_steps, training)

        network.train()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device_type, torch.bfloat16, enabled=bfloat16):
            batch = work.batch_loss(epoch, index)
        batch.loss.backward()  # type: ignore[no-untyped-call]
        if training.l1_penalty:
            add_l1_gradient(network.parameters(), training.l1_penalty)
        norm = clip_gradients(network.parameters(), training.gradient_clip_norm)
        loss_value, norm_value = torch.stack([batch.loss.detach(), norm]).tolist()
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            raise DivergedError(
                f"step {progress.step + 1}: the loss is {loss_value} and the gradient norm "
                f"{norm_value}; a smaller learning_rate may help"
            )
        set_learning_rate(optimizer, rate)
        optimizer.step()
        progress.step += 1
        epochs_done = progress.step / work.steps_per_epoch
        yield StepDone(
            progress.step, total_steps, epochs_done, loss_value, rate, norm_value, batch.timesteps
        )

        seconds = seconds_before + control.elapsed_seconds()
        reason = _limit_reached(progress.step, total_steps, seconds, training)
        if reason or _evaluation_due(progress.step, work.steps_per_epoch, training):
            metrics = work.evaluate()
            value = metrics[work.criterion]
            if not math.isfinite(value):
                raise DivergedError(f"step {progress.step}: the held-out loss is {value}")
            improved = progress.best_value is None or value < progress.best_value
            if improved:
                progress.best_value, progress.best_metrics = value, metrics
                progress.evaluations_since_best = 0
                best_weights = _weights(work)
            else:
                progress.evaluations_since_best += 1
            yield Evaluated(progress.step, epochs_done, metrics, improved)
            patience = training.early_stopping_patience
            if reason is None and patience and progress.evaluations_since_best >= patience:
                reason = "early_stopping"

        if reason is None:
            if control.should_checkpoint():
                yield CheckpointDue(progress.step, save_checkpoint)
            if control.should_stop():
                yield Stopped(progress.step)
                return

    network.load_state_dict(best_weights)
    yield Finished(progress.step, {**progress.best_metrics, **work.test()}, reason, save_model)


def _total_steps(training: TrainingConfig, steps_per_epoch: int) -> int:
    assert training.max_epochs is not None, "resolved before"
    steps = training.max_epochs * steps_per_epoch
    return steps if training.max_steps is None else min(steps, training.max_steps)


def _limit_reached(
    step: int, total_steps: int, seconds: float, training: TrainingConfig
) -> FinishReason | None:
    if step >= total_steps:
        return "max_steps" if step == training.max_steps else "max_epochs"
    if training.max_minutes is not None and seconds >= 60 * training.max_minutes:
        return "max_minutes"
    return None


def _evaluation_due(step: int, steps_per_epoch: int, training: TrainingConfig) -> bool:
    """At the end of an epoch, and at equal distances within it."""
    interval = -(-steps_per_epoch // training.evaluations_per_epoch)
    step_of_epoch = (step - 1) % steps_per_epoch + 1
    return step_of_epoch == steps_per_epoch or step_of_epoch % interval == 0


def _weights(work: Work) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in work.network.state_dict().items()}


def _checkpoint(
    config: TaskConfig,
    work: Work,
    optimizer: Optimizer,
    randomness: Randomness,
    progress: _Progress,
    best_weights: dict[str, Tensor],
) -> Content:
    parts = {
        "weights": work.network.state_dict(),
        "best": best_weights,
        "optimizer": optimizer_tensors(optimizer, work.network),
        "random": randomness.state_tensors(),
        "carried": work.carried_state(),
    }
    tensors = {
        f"{part}:{name}": tensor for part, named in parts.items() for name, tensor in named.items()
    }
    return Content("checkpoint", config, asdict(progress), tensors)


def _restore(
    folder: Path, config: TaskConfig, work: Work, optimizer: Optimizer, randomness: Randomness
) -> tuple[_Progress, dict[str, Tensor]]:
    device = next(work.network.parameters()).device
    content = read(folder, "checkpoint", device)
    if content.config != config:
        raise CheckpointError(f"{folder.name} belongs to another configuration")

    def part(name: str) -> dict[str, Tensor]:
        prefix = f"{name}:"
        return {
            key.removeprefix(prefix): tensor
            for key, tensor in content.tensors.items()
            if key.startswith(prefix)
        }

    try:
        work.network.load_state_dict(part("weights"))
        load_optimizer_tensors(optimizer, work.network, part("optimizer"))
        randomness.load_state_tensors(part("random"))
        work.load_carried_state(part("carried"))
        return _Progress(**content.values), part("best")
    except (RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.name} does not fit these examples: {error}") from error


def parameter_count(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())
