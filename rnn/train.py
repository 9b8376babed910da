"""The training loop: a function to read from top to bottom, which yields what happens.

Whoever iterates decides what to do with the events (print, store, stop); the loop knows nothing of
jobs, and its only clock is the caller's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from rnn.alerts import diverged, findings
from rnn.averaging import WeightAverage
from rnn.budget import StepBudget
from rnn.checkpoint import Content, read, write
from rnn.config import TaskConfig, TrainingConfig
from rnn.data.examples import Examples
from rnn.determinism import Randomness, use_reproducible_kernels, uses_bfloat16
from rnn.diagnostics import LookTimes, layer_weights, look
from rnn.errors import DivergedError, MemoryShortError
from rnn.events import (
    BatchDivided,
    CheckpointDue,
    Control,
    Diagnosed,
    Evaluated,
    Event,
    Finished,
    FinishReason,
    Sampled,
    Started,
    StepDone,
    Stopped,
)
from rnn.gradients import BatchGradient, batch_gradient
from rnn.memory import Shortage, tried_twice, within_memory
from rnn.optim import (
    build_optimizer,
    freeze_below,
    learning_rate_at,
    set_learning_rate,
)
from rnn.quantisation import check_precision, choose_precision
from rnn.samples import Sample, SampleTimes
from rnn.tasks import prepare
from rnn.threads import step_threads
from rnn.training_state import Progress, TrainingState
from rnn.work import Batch, recurrent_stack

__all__ = ["Control", "train"]


def train(
    config: TaskConfig,
    examples: Examples,
    *,
    device: str,
    control: Control,
    resume: Path | None,
    base: Path | None = None,
) -> Iterator[Event]:
    """Trains one network and yields its events, `Started` first, `Finished` or `Stopped` last.

    A training that is interrupted and resumed from its checkpoint takes, on a CPU, exactly the
    steps that it would have taken uninterrupted, unless `max_minutes` fits them to the clock. It
    may go on on another kind of device, but then with other dropout and rounding.

    A batch whose loss or gradient is not finite makes no update: the training goes back to the last
    good state (that of the last evaluation, or the start), halves its rate for good and goes on
    with the batch after that one, `max_rollbacks` times at most. Then it fails, and the last good
    state is its last checkpoint.

    A batch for which the memory is not enough is taken again in twice as many parts, and so are
    those after it. Where the memory ran out in the middle of an update, which is when the optimizer
    asks for its own in the first one, that is taken back by going to the last good state.
    Evaluations are not cut: they do not grow with the batch.

    Args:
        config: resolved (`rnn.resolve`).
        device: as torch names it.
        control: asked between steps.
        resume: a checkpoint of the same configuration and examples.
        base: a saved model whose weights this training starts from.

    Raises:
        DivergedError: a loss or gradient is not finite, and no rollback is left; the update it
            belongs to was not made.
        MemoryShortError: not even one row at a time fits into the memory.
        DataTooSmallError: the examples leave nothing to learn from or to hold out.
        CheckpointError: the checkpoint or the base cannot be used.
        ConfigError: a precision to serve in that the network cannot be computed in.
    """
    use_reproducible_kernels(torch.device(device))
    training = config.training
    randomness = Randomness(training.seed, torch.device(device))
    content = None if base is None else read(base, "model", device)
    work = prepare(config, examples, torch.device(device), randomness, base=content)
    network, groups = work.network, work.layer_groups()
    optimizer = build_optimizer(network, training, groups)
    average = WeightAverage(network, training)
    device_type = torch.device(device).type
    bfloat16 = uses_bfloat16(training.precision, device_type)
    rolls_back = training.max_rollbacks > 0
    state = TrainingState(work, optimizer, average, randomness, rolls_back=rolls_back)
    if resume is not None:
        state.restore(resume, config)
    progress = state.progress
    first_step, seconds_before = progress.step, progress.seconds
    most_steps = _most_steps(training, work.steps_per_epoch)
    budget = StepBudget(training, work.steps_per_epoch)
    look_times = LookTimes(training.diagnostics_interval)
    sample_times = SampleTimes(wanted=training.samples)
    stack = recurrent_stack(work)
    check_precision(config.serving, stack)
    stack.keeps_outputs = bool(training.activation_penalty or training.temporal_activation_penalty)

    def save_checkpoint(folder: Path) -> None:
        progress.seconds = seconds_before + control.elapsed_seconds()
        write(folder, state.content(config))

    reason: FinishReason | None = None

    def go_back(failure: str) -> Iterator[Event]:
        never_good = reason is not None and progress.best_value is None
        if progress.rollbacks == training.max_rollbacks or never_good:
            if rolls_back:
                state.go_back()
                yield CheckpointDue(progress.step, save_checkpoint)
            raise DivergedError(f"{failure}; a smaller learning_rate may help")
        state.roll_back()
        progress.alerts = [*progress.alerts, ("diverged", None)]
        yield diverged(
            progress.step, failure, progress.rollbacks, training.max_rollbacks, progress.rate_factor
        )

    largest = max(parameter.numel() for parameter in stack.parameters())

    def take(batch: Batch) -> BatchGradient:
        with step_threads(batch.timesteps * largest):
            return batch_gradient(work, batch, progress.parts, training, bfloat16=bfloat16)

    def update(batch: Batch) -> None:
        with step_threads(batch.timesteps * largest):
            optimizer.step()

    def divide(batch: Batch, shortage: Shortage) -> BatchDivided:
        if batch.largest_part(progress.parts) == 1:
            raise MemoryShortError(
                f"the memory is not enough for one row of a batch at a time: {shortage.reason}"
            )
        optimizer.zero_grad(set_to_none=True)
        stack.outputs = None
        if device_type == "cuda":
            torch.cuda.empty_cache()
        progress.parts *= 2
        rows = batch.largest_part(progress.parts)
        return BatchDivided(progress.step + 1, progress.parts, rows, shortage.reason)

    evaluations = partial(_evaluations, training, work.steps_per_epoch)

    def sample(elapsed_seconds: float) -> Sequence[Sample]:
        """Empty where none is due, its time is not earned or its memory is not there."""
        earned = sample_times.earned(progress.step - first_step, elapsed_seconds)
        if not earned or not sample_times.due(evaluations(progress.step)):
            return ()
        began = control.elapsed_seconds()
        samples = within_memory(work.samples)
        sample_times.spent(control.elapsed_seconds() - began)
        return () if isinstance(samples, Shortage) else samples

    yield Started(parameter_count(network), _total_steps(progress, most_steps), first_step)

    evaluated = False
    while reason is None:
        epoch, index = divmod(progress.step, work.steps_per_epoch)
        total_steps = _total_steps(progress, most_steps)
        if training.unfreeze_epochs:
            thawed = int(progress.step / (training.unfreeze_epochs * work.steps_per_epoch))
            freeze_below(groups, 1 + thawed)

        network.train()
        optimizer.zero_grad(set_to_none=True)
        batch = work.batch(epoch, index)
        while isinstance(gradient := within_memory(partial(take, batch)), Shortage):
            yield divide(batch, gradient)

        progress.step += 1
        epochs_done = progress.step / work.steps_per_epoch
        if math.isfinite(gradient.loss) and math.isfinite(gradient.norm):
            looks = look_times.due(progress.step) and look_times.earned(
                progress.step - first_step, control.elapsed_seconds()
            )
            weights_before = layer_weights(work) if looks else []
            rate = learning_rate_at(progress.step, total_steps, training)
            rate *= progress.rate_factor * batch.rate_scale
            set_learning_rate(optimizer, rate)
            updated = within_memory(partial(update, batch))
            if isinstance(updated, Shortage):
                if not rolls_back:
                    raise MemoryShortError(
                        f"the memory is not enough for the optimizer: {updated.reason}"
                    )
                state.go_back()
                progress.step -= 1
                yield divide(batch, updated)
                continue
            average.step()
            yield StepDone(
                progress.step,
                total_steps,
                epochs_done,
                gradient.loss,
                rate,
                gradient.norm,
                gradient.timesteps,
            )
            if looks:
                began = control.elapsed_seconds()
                figures = look(work, weights_before)
                look_times.spent(control.elapsed_seconds() - began)
                found = findings(figures, config.architecture)
                told, progress.alerts = progress.alerts, [finding.place for finding in found]
                yield Diagnosed(progress.step, figures, progress.alerts)
                for finding in found:
                    if finding.place not in told:
                        yield finding.alert(progress.step)
        else:
            yield from go_back(
                f"step {progress.step}: the loss is {gradient.loss} and the gradient norm"
                f" {gradient.norm}"
            )

        seconds = seconds_before + control.elapsed_seconds()
        progress.planned_steps = budget.planned(
            progress.planned_steps, progress.step, seconds, evaluated_before=evaluated
        )
        reason = _limit_reached(progress, most_steps, seconds, training)
        due = evaluations(progress.step) > evaluations(progress.step - 1)
        evaluated = due or reason is not None
        if evaluated:
            with average.applied():
                metrics = tried_twice(work.evaluate)
                improved = state.judge(metrics)
                samples = () if improved is None else sample(seconds - seconds_before)
            if improved is None:
                yield from go_back(f"step {progress.step}: the held-out loss is not finite")
            else:
                yield Evaluated(progress.step, epochs_done, metrics, improved)
                if samples:
                    yield Sampled(progress.step, epochs_done, samples)
                patience = training.early_stopping_patience
                if average.triggered(progress.evaluations_since_best):
                    average.begin()
                    progress.evaluations_since_best = 0
                elif reason is None and patience and progress.evaluations_since_best >= patience:
                    reason = "early_stopping"
                state.keep_good()

        if reason is None:
            if control.should_checkpoint():
                yield CheckpointDue(progress.step, save_checkpoint)
            if control.should_stop():
                yield Stopped(progress.step)
                return

    network.load_state_dict(state.best_weights)
    freeze_below(groups, len(groups))  # a test may go on learning
    metrics = {**progress.best_metrics, **work.calibrate(), **work.test()}
    parts = work.model_parts()
    model = Content("model", config, parts.values, state.best_weights, parts.tokenizer)
    serving = choose_precision(model, work, config.serving, control.elapsed_seconds)
    model = replace(model, values={**parts.values, "serving": asdict(serving)})

    def save_model(folder: Path) -> None:
        write(folder, model)

    yield Finished(progress.step, metrics, reason, save_model, serving)


def _most_steps(training: TrainingConfig, steps_per_epoch: int) -> int:
    assert training.max_epochs is not None, "resolved before"
    steps = training.max_epochs * steps_per_epoch
    return steps if training.max_steps is None else min(steps, training.max_steps)


def _total_steps(progress: Progress, most_steps: int) -> int:
    """What the schedule of the rate spans: fewer steps where no more fit into the time."""
    return most_steps if progress.planned_steps is None else min(most_steps, progress.planned_steps)


def _limit_reached(
    progress: Progress, most_steps: int, seconds: float, training: TrainingConfig
) -> FinishReason | None:
    if progress.step >= most_steps:
        return "max_steps" if progress.step == training.max_steps else "max_epochs"
    over = training.max_minutes is not None and seconds >= 60 * training.max_minutes
    if over or progress.step >= _total_steps(progress, most_steps):
        return "max_minutes"
    return None


def _evaluations(training: TrainingConfig, steps_per_epoch: int, steps: int) -> int:
    """How many are due in so many steps: at the end of an epoch, and at equal distances within
    it."""
    interval = -(-steps_per_epoch // training.evaluations_per_epoch)
    epochs, steps_of_epoch = divmod(steps, steps_per_epoch)
    return epochs * -(-steps_per_epoch // interval) + steps_of_epoch // interval


def parameter_count(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())
