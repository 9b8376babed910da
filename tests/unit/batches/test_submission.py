"""What is filled in where a batch leaves it open, and what is refused, by its place."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter

from rnn.config import TaskConfig
from rnn.errors import InputMismatchError
from service.batches.config import BatchConfig, ForecastingBatch, GenerationBatch
from service.batches.requests import BatchRequest, options_for
from service.batches.submission import fill_in
from service.errors import ValidationError
from service.settings import Settings
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION
from tests.unit.batches.conftest import Upload

TASKS: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
SERIES = "date,shop,sales,price\n2024-01-01,a,1,2\n2024-01-02,a,2,3\n"
REVIEWS = "text,other,label\na long and good text,b,1\nanother text again,c,2\n"


@pytest.fixture
def some_settings(tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr("x"),
        redis_url=SecretStr("x"),
        artifact_dir=tmp_path,
        max_new_tokens=100,
        max_request_new_tokens=300,
    )


@pytest.fixture
def fill(upload: Upload, some_settings: Settings) -> Any:
    def fill(
        task: str, content: str, filename: str, trained: dict[str, Any], **body: Any
    ) -> BatchConfig:
        """The options of a request for a model that was trained on the columns `trained`."""
        _, profile = upload(filename, content)
        model = TASKS.validate_python({"task": task, **trained})
        request = BatchRequest.model_validate({"model": "m", "dataset": "d", **body})
        return fill_in(options_for(model.task, request), model, profile, some_settings)

    return fill


def places(error: pytest.ExceptionInfo[ValidationError]) -> list[str]:
    return [".".join(map(str, fault.location)) for fault in error.value.faults]


def forecaster(**data: Any) -> dict[str, Any]:
    return {"data": {"horizon": 4, **data}}


def test_columns_are_those_that_the_model_learned_from(fill: Any) -> None:
    trained = forecaster(target_column="price", time_column="date", series_column="shop")
    found: ForecastingBatch = fill(FORECASTING, SERIES, "s.csv", trained)
    assert found.data.model_dump() == {
        "target_column": "price",
        "target_columns": None,
        "time_column": "date",
        "series_column": "shop",
    }
    assert found.horizon == 4


def test_what_the_request_names_comes_first(fill: Any) -> None:
    trained = forecaster(target_columns=["sales", "price"], series_column="shop")
    found: ForecastingBatch = fill(
        FORECASTING, SERIES, "s.csv", trained, data={"target_column": "sales"}, horizon=2
    )
    assert (found.data.target_column, found.data.target_columns) == ("sales", None)
    assert (found.data.series_column, found.horizon) == ("shop", 2)


def test_columns_that_are_not_there_are_looked_for(fill: Any) -> None:
    trained = forecaster(target_column="kilowatts", time_column="hour")
    found: ForecastingBatch = fill(FORECASTING, "date,value\n2024-01-01,1\n", "s.csv", trained)
    assert (found.data.target_column, found.data.time_column) == ("value", "date")


@pytest.mark.parametrize(
    ("trained", "body", "place", "words"),
    [
        ({}, {"data": {"target_column": "cost"}}, "data.target_column", "is no column"),
        ({}, {"data": {"target_column": "shop"}}, "data.target_column", "holds text"),
        ({}, {}, "data.target_column", "must be chosen; possible columns: sales, price"),
        (
            {"target_column": "sales", "future_covariates": ["holiday"]},
            {},
            "dataset",
            'lacks a column that the model reads: "holiday" is no column',
        ),
        (
            {"target_column": "sales", "calendar": True, "frequency": "1d"},
            {"data": {"series_column": "date"}},
            "data.time_column",
            "the model reads the calendar",
        ),
    ],
)
def test_columns_that_do_not_fit(
    fill: Any, trained: dict[str, Any], body: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(ValidationError) as error:
        fill(FORECASTING, SERIES, "s.csv", forecaster(**trained), **body)
    assert places(error) == [f"body.{place}"]
    assert words in error.value.faults[0].message


@pytest.mark.parametrize(
    ("body", "place"),
    [({"horizon": 5}, ("horizon",)), ({"quantiles": [0.5, 0.99]}, ("quantiles", 1))],
)
def test_what_the_model_was_not_trained_for(
    fill: Any, body: dict[str, Any], place: tuple[str, ...]
) -> None:
    with pytest.raises(InputMismatchError) as error:
        fill(FORECASTING, SERIES, "s.csv", forecaster(target_column="sales"), **body)
    assert error.value.location == place


@pytest.mark.parametrize(
    ("task", "body", "wrong"),
    [
        (CLASSIFICATION, {"horizon": 1, "seed": 2}, ["body.horizon", "body.seed"]),
        (FORECASTING, {"all_scores": True}, ["body.all_scores"]),
        (GENERATION, {"data": {"series_column": "a"}}, ["body.data.series_column"]),
        (
            FORECASTING,
            {"data": {"text_column": "a"}, "top_k": 1},
            ["body.top_k", "body.data.text_column"],
        ),
    ],
)
def test_options_of_another_task(
    fill: Any, task: str, body: dict[str, Any], wrong: list[str]
) -> None:
    with pytest.raises(ValidationError, match=f"The model is for {task}") as error:
        fill(task, REVIEWS, "r.csv", {}, **body)
    assert places(error) == wrong


def test_the_column_of_texts(fill: Any) -> None:
    def column(trained: str | None, **data: Any) -> str | None:
        model = {"data": {"text_column": trained}}
        name: str | None = fill(CLASSIFICATION, REVIEWS, "r.csv", model, data=data).data.text_column
        return name

    assert column("other") == "other"
    assert column("elsewhere") == "text"
    assert column("other", text_column="label") == "label"
    with pytest.raises(ValidationError) as error:
        column(None, text_column="nothing")
    assert places(error) == ["body.data.text_column"]


def test_plain_text_has_no_column(fill: Any) -> None:
    model = {"data": {"text_column": "text"}}
    assert fill(CLASSIFICATION, "one\ntwo\n", "t.txt", model).data.text_column is None
    with pytest.raises(ValidationError, match="plain text and has no columns"):
        fill(CLASSIFICATION, "one\ntwo\n", "t.txt", model, data={"text_column": "text"})


def test_seed_and_tokens_are_chosen(fill: Any) -> None:
    first: GenerationBatch = fill(GENERATION, REVIEWS, "r.csv", {})
    second: GenerationBatch = fill(GENERATION, REVIEWS, "r.csv", {}, seed=4, max_new_tokens=100)
    assert first.seed is not None
    assert (first.max_new_tokens, second.seed, second.max_new_tokens) == (100, 4, 100)
    with pytest.raises(ValidationError, match="Too many tokens") as error:
        fill(GENERATION, REVIEWS, "r.csv", {}, max_new_tokens=101)
    assert places(error) == ["body.max_new_tokens"]


def test_a_search_draws_nothing(fill: Any) -> None:
    found: GenerationBatch = fill(GENERATION, REVIEWS, "r.csv", {}, num_beams=3, length_penalty=0)
    assert (found.num_beams, found.length_penalty, found.seed) == (3, 0, None)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"num_beams": 2, "seed": 1, "top_k": 3}, ["body.top_k", "body.seed"]),
        ({"length_penalty": 1}, ["body.length_penalty"]),
        ({"num_beams": 6, "max_new_tokens": 51}, ["body.max_new_tokens"]),
    ],
)
def test_what_does_not_go_with_a_search(fill: Any, body: dict[str, Any], wrong: list[str]) -> None:
    assert fill(GENERATION, REVIEWS, "r.csv", {}, num_beams=6, max_new_tokens=50)
    with pytest.raises(ValidationError) as error:
        fill(GENERATION, REVIEWS, "r.csv", {}, **body)
    assert places(error) == wrong
