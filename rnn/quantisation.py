"""In which precision a finished network will answer: the fastest that is good enough.

Weights are rounded after the training, one scale for each output's in int8 (Krishnamoorthi 2018,
"Quantizing deep convolutional networks for efficient inference"), and the loss of what answers
requests is measured on held-out examples, the same ones for every precision.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

from rnn.checkpoint import Content, make_predictor
from rnn.config import ServingConfig
from rnn.errors import ConfigError
from rnn.events import Serving
from rnn.kernels.library import Precision
from rnn.memory import Shortage, within_memory
from rnn.stack import RecurrentStack
from rnn.work import LossSum, Work

_FASTEST_FIRST: tuple[Precision, ...] = ("int8", "bfloat16")
_MOST_SECONDS = 20.0  # a figure of fewer examples, the same for every precision, is one too


def check_precision(serving: ServingConfig, stack: RecurrentStack) -> None:
    """Raises ConfigError where the configuration fixes a precision that this stack has not."""
    if serving.precision not in ("auto", "float32") and not stack.native:
        raise ConfigError(
            f"serving.precision: this cell, or a connection of its layers, cannot be computed in "
            f"{serving.precision}, only in float32",
            ("serving", "precision"),
        )


def choose_precision(
    model: Content, work: Work, serving: ServingConfig, seconds: Callable[[], float]
) -> Serving:
    """How a trained network will answer.

    float32 where nothing else can be measured: the kernels do not compute the network or are not
    there, or the memory is not enough for packed weights beside the training.

    Args:
        model: what will be saved.
        work: whose held-out part is measured.
        seconds: a clock, for a limit on the time that this takes.
    """
    wanted = _FASTEST_FIRST
    if serving.precision != "auto":
        wanted = tuple(each for each in wanted if each == serving.precision)
    losses: Mapping[Precision, LossSum] = {}
    if wanted:
        measured = within_memory(partial(_measure, model, work, wanted, seconds))
        losses = {} if isinstance(measured, Shortage) else measured
    means = {precision: loss.mean for precision, loss in losses.items()}
    chosen: Precision = "float32"
    if means:
        most = means["float32"] + serving.max_loss_increase * abs(means["float32"])
        if serving.precision != "auto":
            most = math.inf
        good = (each for each in wanted if math.isfinite(means[each]) and means[each] <= most)
        chosen = next(good, "float32")
    return Serving(
        precision=chosen,
        losses={name: mean if math.isfinite(mean) else None for name, mean in means.items()},
        positions=losses["float32"].positions if losses else 0,
        max_loss_increase=serving.max_loss_increase if serving.precision == "auto" else None,
    )


def _measure(
    model: Content, work: Work, wanted: tuple[Precision, ...], seconds: Callable[[], float]
) -> dict[Precision, LossSum]:
    """The losses in those precisions and in float32; empty where there are no kernels for them."""
    predictors = {each: make_predictor(model, precision=each) for each in ("float32", *wanted)}
    if any(predictor.precision != each for each, predictor in predictors.items()):
        return {}
    losses = dict.fromkeys(predictors, LossSum(0.0, 0))
    began = seconds()
    pieces = (work.served_losses(predictor) for predictor in predictors.values())
    for piece in zip(*pieces, strict=True):
        losses = {
            precision: LossSum(total.total + more.total, total.positions + more.positions)
            for (precision, total), more in zip(losses.items(), piece, strict=True)
        }
        if seconds() - began > _MOST_SECONDS:
            break
    return losses
