"""What a batch prediction is asked for with: the body of `POST /batches`.

The options of all tasks are its fields, and the model's task decides which of them are allowed.
"""

from rnn.config import TaskName
from service.batches.config import (
    BATCH_CONFIGS,
    BatchConfig,
    ClassificationBatch,
    ForecastingBatch,
    GenerationBatch,
    ResultFields,
    SeriesColumns,
    TextColumns,
)
from service.datasets.aliases import DatasetReference
from service.errors import Fault, ValidationError
from service.inference.options import (
    BeamOptions,
    ClassificationOptions,
    ForecastOptions,
    GenerationOptions,
    beam_faults,
)
from service.jobs.requests import QueueFields
from service.registry.references import ModelReference


class BatchColumns(SeriesColumns, TextColumns):
    """Which columns to read. `null` means: those that the model learned from, or else found in the
    data set. For forecasts those of series, otherwise that of the texts."""


class BatchRequest(
    ForecastOptions,
    ClassificationOptions,
    GenerationOptions,
    BeamOptions,
    ResultFields,
    QueueFields,
):
    """A data set and the model to predict all of it with."""

    model: ModelReference
    dataset: DatasetReference
    data: BatchColumns = BatchColumns()


_OF_THE_TASK = {"task", "data"}
_OPTIONS: dict[TaskName, set[str]] = {
    "time-series-forecasting": {*ForecastingBatch.model_fields} - _OF_THE_TASK,
    "text-classification": {*ClassificationBatch.model_fields} - _OF_THE_TASK,
    "text-generation": {*GenerationBatch.model_fields} - _OF_THE_TASK,
}
_COLUMNS: dict[TaskName, set[str]] = {
    "time-series-forecasting": {*SeriesColumns.model_fields},
    "text-classification": {*TextColumns.model_fields},
    "text-generation": {*TextColumns.model_fields},
}


def options_for(task: TaskName, request: BatchRequest) -> BatchConfig:
    """The options of the task, as they were given; nothing is filled in yet.

    Raises ValidationError naming each field that was given and is for another task, or means
    nothing beside the others.
    """
    others = set().union(*_OPTIONS.values()) - _OPTIONS[task]
    places = [(name,) for name in sorted(request.model_fields_set & others)]
    columns = request.data.model_fields_set - _COLUMNS[task]
    faults = [
        Fault(("body", *place), f"is no option of {task}, which the model is for")
        for place in (*places, *(("data", name) for name in sorted(columns)))
    ]
    if faults:
        raise ValidationError(f"The model is for {task}: not every option is.", faults=faults)
    if faults := beam_faults(request):
        raise ValidationError("The request contradicts itself.", faults=faults)
    return BATCH_CONFIGS.validate_python(
        {
            "task": task,
            "data": {name: getattr(request.data, name) for name in _COLUMNS[task]},
            **{name: getattr(request, name) for name in _OPTIONS[task]},
        }
    )
