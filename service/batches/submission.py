"""What is decided when a batch is submitted: the version, the columns, every option left open."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from rnn.config import (
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
    TaskConfig,
)
from rnn.forecasting.reach import check_reach
from service.batches.config import (
    BatchConfig,
    ClassificationBatch,
    ForecastingBatch,
    GenerationBatch,
    SeriesColumns,
    TextColumns,
    with_columns,
)
from service.batches.requests import BatchRequest, options_for
from service.datasets.aliases import find_dataset
from service.datasets.roles import assign_columns, assign_text_column
from service.datasets.store import get_dataset
from service.db.tables import Job
from service.errors import Fault, NotFoundError, ValidationError
from service.inference.options import DEFAULT_NEW_TOKENS, random_seed
from service.jobs import store
from service.jobs.kinds import JobKind
from service.jobs.preemption import make_room
from service.jobs.quotas import default_quota
from service.jobs.workers import choose_queue
from service.registry.bases import find_version, is_there
from service.settings import Settings

MAX_NAME = 200


def submit(
    db: Session, settings: Settings, workspace_id: UUID, key_id: UUID | None, request: BatchRequest
) -> Job:
    """Queues a batch; its model's version is that of this moment. The caller wakes a worker of its
    queue, after the commit.

    Raises NotFoundError and ModelNotReadyError for a model or data set that is not there,
    ValidationError and InputMismatchError for an option or column that does not fit them, and the
    errors of `service.jobs.store.submit`.
    """
    version = find_version(db, workspace_id, request.model)
    found = find_dataset(db, workspace_id, request.dataset)
    dataset = get_dataset(db, workspace_id, found.id, keep=True)
    record, defaults = version.record, default_quota(settings)
    options = options_for(version.config.task, request)
    config = fill_in(options, version.config, dataset.profile, settings).model_copy(
        update={
            "name": request.name
            or f"{dataset.name} by {record['name']}:{record['version']}"[-MAX_NAME:]
        }
    )
    job = store.submit(
        db,
        workspace_id=workspace_id,
        created_by=key_id,
        kind=JobKind.PREDICTION,
        dataset_id=dataset.id,
        model_name=record["name"],
        config=config.model_dump(mode="json"),
        base=record,
        device=request.device,
        queue=choose_queue(db, request.device, live_seconds=settings.lease_seconds),
        priority=request.priority,
        labels=request.metadata,
        after=request.after,
        preempts=request.preempts,
        deadline=request.deadline,
        defaults=defaults,
    )
    # The last lock that is taken, as where a training ends: nobody waits in a circle.
    if not is_there(db, workspace_id, record):
        raise NotFoundError(f"The model {record['name']!r} was deleted just now.")
    if request.preempts:
        make_room(db, live_seconds=settings.lease_seconds, defaults=defaults)
    return job


def fill_in(
    options: BatchConfig, model: TaskConfig, profile: Mapping[str, Any], settings: Settings
) -> BatchConfig:
    """The options with every choice made that they leave to the model or to the data set.

    Raises ValidationError with the place of what does not fit, and InputMismatchError for what
    the model was not trained for.
    """
    match options, model:
        case ForecastingBatch(), ForecastingConfig():
            horizon = options.horizon or model.data.horizon
            assert horizon is not None, "the configuration of a version is resolved"
            check_reach(model, horizon, options.quantiles)
            columns = _series_columns(options.data, model, profile)
            return options.model_copy(update={"horizon": horizon, "data": columns})
        case ClassificationBatch(), ClassificationConfig():
            text = _text_column(options.data, model.data.text_column, profile)
            return options.model_copy(update={"data": text})
        case GenerationBatch(), GenerationConfig():
            text = _text_column(options.data, model.data.text_column, profile)
            return options.model_copy(
                update={
                    "data": text,
                    "max_new_tokens": _new_tokens(options, settings),
                    "seed": _seed(options),
                }
            )
    raise AssertionError("options are those of the model's task")


def _series_columns(
    said: SeriesColumns, model: ForecastingConfig, profile: Mapping[str, Any]
) -> SeriesColumns:
    there = {column["name"] for column in profile["columns"]}
    trained = model.data
    columns = {
        name: getattr(said, name) or _if_there(getattr(trained, name), there)
        for name in ("time_column", "series_column")
    }
    target, targets = said.target_column, said.target_columns
    if target is None and targets is None:
        target, targets = _if_there(trained.target_column, there), trained.target_columns
        if targets is not None and not there.issuperset(targets):
            targets = None
    wanted = SeriesColumns(target_column=target, target_columns=targets, **columns)
    try:
        assigned = assign_columns(with_columns(model, wanted), profile)
    except ValidationError as error:
        raise _said_of_the_model(error) from None
    assert isinstance(assigned, ForecastingConfig)
    if trained.calendar and assigned.data.time_column is None:
        fault = Fault(("body", "data", "time_column"), "is needed: the model reads the calendar")
        raise ValidationError("The model needs a time column.", faults=[fault])
    return SeriesColumns(
        **{name: getattr(assigned.data, name) for name in SeriesColumns.model_fields}
    )


def _said_of_the_model(error: ValidationError) -> ValidationError:
    """What is wrong with a column beside the target is wrong with the data set: the model names
    them, not the request."""
    beside = [fault for fault in error.faults if str(fault.location[2]).endswith("_covariates")]
    if not beside:
        return error
    message = f"lacks a column that the model reads: {beside[0].message}"
    return ValidationError(f"The data set {message}.", faults=[Fault(("body", "dataset"), message)])


def _text_column(said: TextColumns, trained: str | None, profile: Mapping[str, Any]) -> TextColumns:
    there = {column["name"] for column in profile["columns"]}
    column = said.text_column or _if_there(trained, there)
    return TextColumns(text_column=assign_text_column(column, profile))


def _if_there(name: str | None, there: set[str]) -> str | None:
    return name if name in there else None


def _new_tokens(options: GenerationBatch, settings: Settings) -> int:
    wanted = options.max_new_tokens or min(DEFAULT_NEW_TOKENS, settings.max_new_tokens)
    beams = options.num_beams
    for amount, unit, limit in (
        (wanted, "tokens", settings.max_new_tokens),
        (beams * wanted, f"tokens of {beams} beams", settings.max_request_new_tokens),
    ):
        if amount > limit:
            fault = Fault(("body", "max_new_tokens"), f"{amount} {unit}, the limit is {limit}")
            raise ValidationError("Too many tokens of one text.", faults=[fault])
    return wanted


def _seed(options: GenerationBatch) -> int | None:
    """None where nothing is drawn."""
    if options.seed is None and options.num_beams == 1:
        return random_seed()
    return options.seed
