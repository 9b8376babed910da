"""Forecasts over HTTP."""

from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler
from pydantic.functional_validators import WrapValidator
from pydantic_core import InitErrorDetails

from rnn.config import MAX_SEED
from service.api.schemas.base import SeriesTime, View
from service.api.schemas.models import AnsweringModel
from service.inference.options import ForecastOptions
from service.registry.references import ModelReference

Series = Annotated[list[float | None], Field(min_length=1)]


def _one_or_many(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Reads a flat list as one series."""
    if not isinstance(value, list) or not value or isinstance(value[0], list):
        return validate(value)
    return _validate_one(value, validate)


def _one_or_each(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Reads what is not in a list as that of one series."""
    if isinstance(value, list) or value is None:
        return validate(value)
    return _validate_one(value, validate)


def _validate_one(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Its errors name the places as the client wrote them."""
    try:
        return validate([value])
    except ValidationError as error:
        faults = [
            InitErrorDetails(
                type=fault["type"],
                loc=fault["loc"][1:],
                input=fault["input"],
                ctx=fault.get("ctx", {}),
            )
            for fault in error.errors(include_url=False)
        ]
        raise ValidationError.from_exception_data(error.title, faults) from None


NumbersOfEach = Annotated[
    list[dict[str, Series]] | None,
    WrapValidator(
        _one_or_each,
        json_schema_input_type=list[dict[str, Series]] | dict[str, Series] | None,
    ),
]
Static = dict[str, float | str | None]


class ForecastRequest(ForecastOptions):
    """One or many series, each with its newest value last."""

    model: ModelReference
    series: Annotated[
        list[Series],
        Field(
            min_length=1,
            description="Lists of numbers, or one list; null: a missing value.",
            examples=[[[112, 118, None, 129, 121, 135]]],
        ),
        WrapValidator(_one_or_many, json_schema_input_type=list[Series] | Series),
    ]
    past_covariates: NumbersOfEach = Field(
        None,
        description="For each series an object of lists by name, as long as the series; or one "
        "object for one series. What a model reads says its version's configuration.",
        examples=[[{"visitors": [20, 30, 30, 10, None, 40]}]],
    )
    future_covariates: NumbersOfEach = Field(
        None,
        description="Likewise, each list as long as the series and the horizon together.",
    )
    static_covariates: Annotated[
        list[Static] | None,
        WrapValidator(_one_or_each, json_schema_input_type=list[Static] | Static | None),
    ] = Field(
        None,
        description="For each series an object of numbers or words by name; a word that was not "
        "there in training counts as missing.",
        examples=[[{"region": "north"}]],
    )
    start: Annotated[
        list[SeriesTime] | None,
        WrapValidator(_one_or_each, json_schema_input_type=list[SeriesTime] | SeriesTime | None),
    ] = Field(
        None,
        description="Time of each series' first value, or one time for all of them, for a model "
        "that reads the calendar: ISO 8601, or as data sets may have it, 2024-01, 2024/01/31 or "
        "31.01.2024. Without an offset it counts as UTC.",
        examples=["2024-01-31T12:00:00"],
    )
    num_samples: int = Field(
        0,
        ge=0,
        description="Sample paths of each series: joint draws of the whole horizon, with the "
        "distribution of the quantiles at each timestep.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="The same seed draws the same paths; those of series i have the seed + i. "
        "null: a random one.",
    )


class SeriesForecast(View):
    mean: list[float]
    quantiles: dict[str, list[float]] = Field(description="Each level with its values.")
    samples: list[list[float]] | None = Field(
        None, description="With num_samples: so many paths, each over the horizon."
    )


class ForecastAnswer(View):
    model: AnsweringModel
    horizon: int
    forecasts: list[SeriesForecast] = Field(description="In the order of the series.")
