"""What a sweep may change of its job, each choice with its range; and what it judges trials by."""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic import ValidationError as PydanticValidationError

from rnn.config import (
    ClassificationConfig,
    Config,
    ForecastingConfig,
    GenerationConfig,
    TaskConfig,
    TaskName,
)
from rnn.errors import RnnError
from service.errors import Fault, ServiceError, ValidationError
from service.jobs.requests import JOB_REQUESTS, JobRequest

Value = float | int | str | bool | None
Values = Mapping[str, Value]
Direction = Literal["minimize", "maximize"]

MAX_FIELDS = 20
MAX_CHOICES = 50
MAX_GRID = 10_000
MAX_STEPS = 1_000_000_000

# Figures of the held-out part; the first is what a training chooses its weights by. Those of the
# test part are not among them: whoever chooses by them has none left to judge the choice by.
METRICS: dict[TaskName, dict[str, Direction]] = {
    "time-series-forecasting": {
        "loss": "minimize",
        "mase": "minimize",
        "smape": "minimize",
        "mse_standardised": "minimize",
        "mae_standardised": "minimize",
        "owa": "minimize",
    },
    "text-classification": {
        "loss": "minimize",
        "accuracy": "maximize",
        "macro_f1": "maximize",
        "calibration_error": "minimize",
    },
    "text-generation": {
        "loss_nats": "minimize",
        "perplexity": "minimize",
        "bits_per_token": "minimize",
        "bits_per_character": "minimize",
    },
}

_CONFIGS: dict[TaskName, type[BaseModel]] = {
    "time-series-forecasting": ForecastingConfig,
    "text-classification": ClassificationConfig,
    "text-generation": GenerationConfig,
}


class FloatRange(Config):
    type: Literal["float"]
    low: float
    high: float
    step: float | None = Field(None, gt=0, description="From low on; null: any value.")
    log: bool = Field(False, description="Small values are tried as often as large ones.")

    @model_validator(mode="after")
    def _is_a_range(self) -> "FloatRange":
        _require_range(self.low, self.high, self.step, log=self.log)
        if self.log and self.step is not None:
            raise ValueError("a logarithmic range has no step")
        return self

    def corners(self) -> list[tuple[tuple[str | int, ...], Value]]:
        return [(("low",), self.low), (("high",), self.high)]

    def holds(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and _is_on_grid(value, self.low, self.step)

    def size(self) -> int | None:
        """Values in it; None: too many to try all."""
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def points(self) -> Sequence[Value]:
        assert self.step is not None
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return [float(low + index * step) for index in range(self.size() or 0)]


class IntRange(Config):
    type: Literal["int"]
    low: int
    high: int
    step: int = Field(1, ge=1, description="From low on.")
    log: bool = Field(False, description="Small values are tried as often as large ones.")

    @model_validator(mode="after")
    def _is_a_range(self) -> "IntRange":
        _require_range(self.low, self.high, self.step, log=self.log)
        if self.log and self.step != 1:
            raise ValueError("a logarithmic range has no step")
        return self

    def corners(self) -> list[tuple[tuple[str | int, ...], Value]]:
        return [(("low",), self.low), (("high",), self.high)]

    def holds(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def size(self) -> int:
        return (self.high - self.low) // self.step + 1

    def points(self) -> Sequence[Value]:
        return range(self.low, self.high + 1, self.step)


def _require_scalar(value: object) -> object:
    if isinstance(value, dict | list):
        raise ValueError("must be a number, a text, true, false or null")
    return value


Choice = Annotated[
    float | int | bool | Annotated[str, StringConstraints(max_length=200)] | None,
    BeforeValidator(_require_scalar),
]


class Choices(Config):
    type: Literal["categorical"]
    choices: list[Choice] = Field(min_length=1, max_length=MAX_CHOICES)

    @model_validator(mode="after")
    def _each_once(self) -> "Choices":
        if any(one == other for one, other in itertools.combinations(self.choices, 2)):
            raise ValueError("names a choice twice")
        return self

    def corners(self) -> list[tuple[tuple[str | int, ...], Value]]:
        return [(("choices", index), choice) for index, choice in enumerate(self.choices)]

    def holds(self, value: object) -> bool:
        return any(value == choice for choice in self.choices)

    def size(self) -> int:
        return len(self.choices)

    def points(self) -> Sequence[Value]:
        return self.choices


FieldPath = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=100)
]
Dimension = Annotated[FloatRange | IntRange | Choices, Field(discriminator="type")]
DIMENSION_TYPES = frozenset({"float", "int", "categorical"})
Space = dict[FieldPath, Dimension]
SPACES: TypeAdapter[Space] = TypeAdapter(Space)


def with_values(request: JobRequest, values: Values) -> JobRequest:
    """The request with some fields chosen; raises pydantic's error where it cannot be."""
    body = request.model_dump(mode="json", exclude_unset=True)
    for path, value in values.items():
        *parents, name = path.split(".")
        part = body
        for parent in parents:
            part[parent] = dict(part.get(parent) or {})
            part = part[parent]
        part[name] = value
    return JOB_REQUESTS.validate_json(json.dumps(body))


def values_at(config: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Value]:
    """What a resolved configuration, as JSON, says in these places."""
    found = {}
    for path in paths:
        value: Any = config
        for name in path.split("."):
            value = (value or {}).get(name)
        found[path] = value
    return found


def lies_in(values: Values, space: Space) -> bool:
    return all(space[path].holds(value) for path, value in values.items())


def grid(space: Space, seed: int) -> Iterator[Values]:
    """Every combination once, in an order that the seed decides."""
    combinations = list(itertools.product(*(space[path].points() for path in space)))
    random.Random(seed).shuffle(combinations)  # noqa: S311 - an order, no secret
    return (dict(zip(space, combination, strict=True)) for combination in combinations)


def require_grid(space: Space) -> None:
    """Raises ValidationError where not all combinations can be tried."""
    sizes = {path: dimension.size() for path, dimension in space.items()}
    endless = [path for path, size in sizes.items() if size is None]
    if endless:
        faults = [Fault(("body", "space", path), "a grid needs a step here") for path in endless]
        raise ValidationError("The space has no grid.", faults=faults)
    size = math.prod(size or 0 for size in sizes.values())
    if size > MAX_GRID:
        message = f"has {size:,} combinations, and a grid may have {MAX_GRID:,}"
        raise ValidationError(f"The space {message}.", faults=[Fault(("body", "space"), message)])


def require_space(
    request: JobRequest, space: Space, resolve: Callable[[JobRequest], TaskConfig]
) -> None:
    """Tries both ends of each range and each choice, with the rest of the job as it is.

    Args:
        resolve: what would be trained; raises where that cannot be.

    Raises ValidationError that names each wrong place of the space.
    """
    faults = [
        Fault(("body", "space", path), fault)
        for path in space
        if (fault := _path_fault(request.task, path, space)) is not None
    ]
    if not faults:
        for path, dimension in space.items():
            for place, value in dimension.corners():
                try:
                    resolve(with_values(request, {path: value}))
                except (PydanticValidationError, RnnError, ServiceError) as error:
                    faults.append(Fault(("body", "space", path, *place), reason(error)))
    if faults:
        places = "1 place" if len(faults) == 1 else f"{len(faults)} places"
        raise ValidationError(f"{places} of the space must be changed.", faults=faults)


def reason(error: Exception) -> str:
    """One sentence on why there is no such job."""
    match error:
        case PydanticValidationError():
            message: str = error.errors()[0]["msg"]
            return message.removeprefix("Value error, ")
        case ServiceError():
            return error.faults[0].message if error.faults else error.detail
    return str(error)


def _path_fault(task: TaskName, path: str, space: Space) -> str | None:
    if any(other.startswith(f"{path}.") for other in space):
        return "is chosen as a whole and in parts"
    part: type[BaseModel] | None = _CONFIGS[task]
    for name in path.split("."):
        if part is None or name not in part.model_fields or name == "task":
            return f"is no choice of {task}"
        part = _model_in(part.model_fields[name].annotation)
    if part is not None:
        return f"is a part: name one of {', '.join(part.model_fields)} in it"
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The part of a configuration that a field holds, or may hold."""
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _require_range(low: float, high: float, step: float | None, *, log: bool) -> None:
    if low >= high:
        raise ValueError(f"low {low} is not below high {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, not at {low}")
    if step is not None and not (high - low) // step < MAX_STEPS:  # is not a number beyond 1e308
        raise ValueError(f"more than {MAX_STEPS:,} steps of {step} lie between {low} and {high}")
    if not _is_on_grid(high, low, step):
        raise ValueError(f"no number of steps of {step} leads from low {low} to high {high}")


def _is_on_grid(value: float, low: float, step: float | None) -> bool:
    """In decimal numbers, as they are written: 0.1 and 0.2 make 0.3."""
    if step is None:
        return True
    return not (Decimal(str(value)) - Decimal(str(low))) % Decimal(str(step))
