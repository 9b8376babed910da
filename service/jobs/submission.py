"""What is decided when a job is submitted: columns, sizes, the model's name.

The stored configuration leaves nothing open, so the row says all that the trainer needs.
"""

import re

from rnn.config import TaskConfig
from rnn.resolve import parameter_count, resolve
from service.datasets.roles import assign_columns
from service.db.tables import Dataset
from service.errors import Fault, ValidationError

MODEL_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
MAX_NAME = 64


def fill_in(config: TaskConfig, dataset: Dataset, *, max_parameters: int) -> TaskConfig:
    """The configuration with every choice that depends on the data made.

    Raises ValidationError for a data set of another kind or a network beyond `max_parameters`, and
    DataTooSmallError (of `rnn`) where the data cannot fill what was asked for.
    """
    _require_kind(config.task, dataset)
    resolved = resolve(assign_columns(config, dataset.profile), dataset.profile)
    parameters = parameter_count(resolved, dataset.profile)
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


def _require_kind(task: str, dataset: Dataset) -> None:
    serves: list[str] = dataset.profile["tasks"]
    if task in serves:
        return
    others = f"it can serve {' and '.join(serves)}" if serves else "it can serve no task"
    fault = Fault(("body", "dataset"), f"is not one for {task}; {others}")
    raise ValidationError(
        f"The data set {dataset.name!r} cannot be used for {task}: {others}.", faults=[fault]
    )
