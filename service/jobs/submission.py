"""What is decided when a job is submitted: columns, sizes, the model's name.

The stored configuration leaves nothing open, so the row says all that the trainer needs.
"""

import re
from pathlib import Path

from rnn.config import TaskConfig
from rnn.inherit import inherit
from rnn.resolve import parameter_count, resolve
from service.datasets.profile import fit_profile
from service.datasets.roles import assign_columns
from service.db.tables import Dataset
from service.errors import Fault, ValidationError
from service.jobs.workers import GPU

MAX_NAME = 64


def fill_in(
    config: TaskConfig,
    dataset: Dataset,
    path: Path,
    *,
    queue: str,
    max_parameters: int,
    base: TaskConfig | None = None,
) -> TaskConfig:
    """The configuration with every choice that depends on the data, or on the network that the
    training starts from, made.

    The file at `path` is read only where the caller names other columns than were found in it.

    Raises ValidationError for a data set of another kind or a network beyond `max_parameters`, and
    of `rnn` DataTooSmallError where the data cannot fill what was asked for, and ConfigError where
    that contradicts the base.
    """
    if base is not None:
        config = inherit(config, base)
    if not _names_columns(config):
        _require_kind(config.task, dataset)
    assigned = assign_columns(config, dataset.profile)
    profile = fit_profile(path, dataset.profile, assigned)
    resolved = resolve(assigned, profile, "cuda" if queue == GPU else "cpu")
    parameters = parameter_count(resolved, profile)
    if parameters > max_parameters:
        fault = Fault(
            ("body", "architecture"),
            f"makes {parameters:,} weights, and {max_parameters:,} are allowed",
        )
        raise ValidationError("The network is larger than this server allows.", faults=[fault])
    return resolved


def default_model_name(dataset_name: str, task: str, *, taken: bool) -> str:
    """A model's name made of the data set's, with the task added where that one is taken."""
    stem = re.sub(r"\.(csv|tsv|jsonl|ndjson|json|txt)(\.(gz|zst))?$", "", dataset_name.lower())
    slug = re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "model"
    if not taken:
        return slug[:MAX_NAME].rstrip("-")
    return f"{slug[: MAX_NAME - len(task) - 1].rstrip('-')}-{task}"


def _names_columns(config: TaskConfig) -> bool:
    return any(
        value is not None
        for name, value in config.data
        if name.endswith("_column") or name == "target_columns"
    )


def _require_kind(task: str, dataset: Dataset) -> None:
    serves: list[str] = dataset.profile["tasks"]
    if task in serves:
        return
    others = f"it can serve {' and '.join(serves)}" if serves else "it can serve no task"
    fault = Fault(("body", "dataset"), f"is not one for {task}; {others}")
    raise ValidationError(
        f"The data set {dataset.name!r} cannot be used for {task}: {others}.", faults=[fault]
    )
