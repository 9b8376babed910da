"""One training from a trainer's order to its last report."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rnn.errors import CheckpointError
from rnn.events import (
    Alert,
    BatchDivided,
    CheckpointDue,
    Diagnosed,
    Evaluated,
    Event,
    Finished,
    Sampled,
    Started,
    StepDone,
    Stopped,
)
from service.datasets.reading import load_examples
from service.errors import NotFoundError
from workers.messages import (
    CheckpointSaved,
    Predict,
    Rejected,
    Resumed,
    Train,
    TrainingFinished,
    TrainingStarted,
    TrainingStopped,
)
from workers.predictor import Predictor
from workers.trainer_control import Meter, Reporter, TrainingControl, finite_values, now


class Science(NamedTuple):
    """The functions of `rnn` that a trainer calls, once what is slow is imported and warm."""

    train: Callable[..., Iterator[Event]]
    verify: Callable[[Path], None]
    manifest_sha256: Callable[[Path], str]
    load_predictor: Callable[[Predict], Predictor]


def run(
    order: Train,
    science: Science,
    control: TrainingControl,
    reporter: Reporter,
    steps: threading.Event,
) -> None:
    """Trains and reports; sets `steps` when the first one comes, from where on a stop is heard."""
    base = checked_base(order, science)
    examples = load_examples(order.dataset_path, order.profile, order.config)
    resume = choose_checkpoint(order, science, reporter)
    meter = Meter(reporter)
    last_saved: int | None = None
    for event in science.train(
        order.config, examples, device=order.device, control=control, resume=resume, base=base
    ):
        match event:
            case Started():
                steps.set()
                reporter.send(
                    TrainingStarted(
                        at=now(),
                        parameters=event.parameters,
                        total_steps=event.total_steps,
                        first_step=event.first_step,
                    )
                )
            case StepDone():
                meter.step(event)
            case Evaluated():
                meter.evaluated(event)
            case Sampled():
                meter.sampled(event)
            case Diagnosed():
                meter.diagnosed(event)
            case Alert():
                meter.alert(event)
            case BatchDivided():
                meter.divided(event)
            case CheckpointDue():
                if event.step != last_saved:
                    path = order.checkpoints_dir / f"step-{event.step:d}"
                    event.save(path)
                    meter.flush()
                    digest = science.manifest_sha256(path)
                    reporter.send(CheckpointSaved(step=event.step, path=path, sha256=digest))
                    last_saved = event.step
                control.saved()
            case Stopped():
                meter.flush()
                reporter.send(TrainingStopped())
            case Finished():
                meter.flush()
                event.save(order.model_dir)
                reporter.send(
                    TrainingFinished(
                        step=event.step,
                        metrics=finite_values(event.metrics),
                        serving=event.serving,
                        reason=event.reason,
                        path=order.model_dir,
                        sha256=science.manifest_sha256(order.model_dir),
                    )
                )


def checked_base(order: Train | Predict, science: Science) -> Path | None:
    """The folder of the model to start from, or to predict with, as it was when the job was
    submitted.

    Raises:
        NotFoundError: the model was deleted since, or its files are not what they were.
    """
    base = order.base
    if base is None:
        return None
    try:
        science.verify(base.path)
        found = science.manifest_sha256(base.path)
    except CheckpointError as error:
        raise NotFoundError(
            f"The model {base.name}:{base.version} is not there any more: {error}"
        ) from error
    if found != base.sha256:
        raise NotFoundError(
            f"The model {base.name}:{base.version} is not the one that the job was given."
        )
    return base.path


def choose_checkpoint(order: Train | Predict, science: Science, reporter: Reporter) -> Path | None:
    """The newest checkpoint whose files are all as they were saved.

    Its manifest vouches for its files, and the digest in the job's row for its manifest.
    """
    rejected = []
    for index, kept in enumerate(order.checkpoints):
        try:
            science.verify(kept.path)
            if science.manifest_sha256(kept.path) != kept.sha256:
                raise CheckpointError(f"{kept.path.name} is not the folder that was saved")
        except CheckpointError as error:
            rejected.append(Rejected(step=kept.step, reason=str(error)))
            continue
        reporter.send(Resumed(used=index, rejected=rejected))
        return kept.path
    reporter.send(Resumed(used=None, rejected=rejected))
    return None
