"""The page of a new job without a browser, its form, and the estimate that it shows."""

import html
import json
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from rnn.config import TaskName
from service.auth.subjects import Scope
from service.dashboard.form import sections
from service.jobs.requests import JOB_REQUESTS
from tests.api.conftest import MakeKey, bearer, problem
from tests.api.job_requests import (
    CLASSIFICATION,
    CORPUS,
    FORECASTING,
    GENERATION,
    REVIEWS,
    SERIES,
    submit,
    upload,
)
from tests.api.test_dashboard import HTML, sign_in

TASKS: tuple[TaskName, ...] = get_args(TaskName)
ESTIMATE = "/api/v1/jobs/estimate"


def values(client: TestClient, query: str) -> dict[str, Any]:
    page = client.get(f"/jobs/new?{query}", headers=HTML)
    assert page.status_code == 200, page.text
    found: dict[str, Any] = json.loads(
        page.text.partition('id="values" type="application/json">')[2].partition("</script>")[0]
    )
    return found


# The form


@pytest.mark.parametrize("task", TASKS)
def test_the_form_has_every_choice_once(task: TaskName) -> None:
    paths = [field.path for section in sections(task) for field in section.fields]
    assert len(paths) == len(set(paths))
    request = JOB_REQUESTS.validate_python({"task": task, "dataset": "alias"})
    wanted = {name for name in type(request).model_fields if name not in ("task", "dataset")}
    for part in ("architecture", "training", "data", "serving"):
        wanted.remove(part)
        wanted |= {f"{part}.{name}" for name in type(getattr(request, part)).model_fields}
    assert wanted <= set(paths)
    assert all(path.startswith("architecture.convolution.") for path in set(paths) - wanted)


@pytest.mark.parametrize("task", TASKS)
def test_defaults_are_those_of_the_request(task: TaskName) -> None:
    request = JOB_REQUESTS.validate_python({"task": task, "dataset": "alias"}).model_dump(
        mode="json"
    )
    for section in sections(task):
        for field in section.fields:
            if field.path.startswith("architecture.convolution."):
                continue
            value: Any = request
            for name in field.path.split("."):
                value = value[name]
            assert json.loads(field.default) == value, field.path


def test_fields_say_their_range_and_help() -> None:
    fields = {field.path: field for section in sections(FORECASTING) for field in section.fields}
    layers = fields["architecture.num_layers"]
    assert (layers.kind, layers.least, layers.most, layers.range) == (
        "integer",
        1,
        16,
        "from 1 to 16",
    )
    assert layers.help == "Recurrent layers on top of each other."
    assert fields["architecture.cell"].options[2] == "lstm"
    assert fields["training.gradient_clip_norm"].may_be_null
    assert not fields["training.max_epochs"].may_be_null
    assert fields["training.learning_rate"].range == "above 0 to 10"
    assert fields["architecture.convolution"].kind == "group"
    assert fields["data.lags"].kind == "integers"
    assert fields["data.past_covariates"].kind == "texts"
    assert fields["metadata"].kind == fields["data.static_columns"].kind == "json"


def test_the_task_follows_from_the_data_set(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    reviews = upload(client, headers, "reviews.csv", REVIEWS)
    series = upload(client, headers, "series.csv", SERIES)
    sign_in(client, key)
    for dataset, task in ((reviews, CLASSIFICATION), (series, FORECASTING)):
        page = client.get(f"/jobs/new?dataset={dataset}", headers=HTML).text
        assert f'<option value="{task}" selected>' in page
    page = client.get(f"/jobs/new?task={CLASSIFICATION}", headers=HTML).text
    assert f'<option value="{reviews}" data-tasks="{CLASSIFICATION} {GENERATION}" selected>' in page


def test_a_clone_asks_for_the_same_training(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "series.csv", SERIES)
    job = submit(
        client,
        headers,
        dataset,
        architecture={"convolution": {"channels": 8}, "hidden_size": 24},
        training={"gradient_clip_norm": None},
        metadata={"why": "to see"},
        model="first",
    )
    sign_in(client, key)
    found = values(client, f"clone={job['id']}")
    assert found["architecture.convolution.channels"] == 8
    assert found["training.gradient_clip_norm"] is None
    assert found["metadata"] == {"why": "to see"}
    body: dict[str, Any] = {"task": FORECASTING, "dataset": dataset}
    for path, value in found.items():
        place, names = body, path.split(".")
        for name in names[:-1]:
            place = place.setdefault(name, {})
        place[names[-1]] = value
    again = client.post("/api/v1/jobs", json=body, headers=headers)
    assert again.status_code == 202, again.text
    assert again.json()["config"] == job["config"]
    assert again.json()["model"] == "first"
    assert f"/jobs/new?clone={job['id']}" in client.get(f"/jobs/{job['id']}", headers=HTML).text


def test_of_a_clone_whose_data_set_is_gone_another_one_is_asked_for(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "series.csv", SERIES)
    job = submit(client, headers, dataset)["id"]
    client.post(f"/api/v1/jobs/{job}/cancel", headers=headers)
    assert client.delete(f"/api/v1/datasets/{dataset}", headers=headers).status_code == 204
    sign_in(client, key)
    assert "was deleted" in client.get(f"/jobs/new?clone={job}", headers=HTML).text
    assert client.get(f"/jobs/new?dataset={dataset}", headers=HTML).status_code == 404


def test_what_is_cloned_is_text(client: TestClient, key: str, headers: dict[str, str]) -> None:
    """bad_inputs dashboard-01, dashboard-02."""
    ugly = "</script><script>alert(1)</script>"
    dataset = upload(client, headers, f"{ugly}.csv", SERIES)
    job = submit(client, headers, dataset, metadata={"note": ugly})["id"]
    sign_in(client, key)
    text = client.get(f"/jobs/new?clone={job}", headers=HTML).text
    assert html.escape(f"{ugly}.csv") in text
    assert "<script>alert" not in text
    assert values(client, f"clone={job}")["metadata"] == {"note": ugly}


def test_a_job_of_somebody_else_is_not_cloned(
    client: TestClient, key: str, make_key: MakeKey
) -> None:
    """bad_inputs dashboard-20."""
    stranger = bearer(make_key(workspace_name="other"))
    job = submit(client, stranger, upload(client, stranger, "x.csv", SERIES))["id"]
    sign_in(client, key)
    assert client.get(f"/jobs/new?clone={job}", headers=HTML).status_code == 404


def test_without_a_data_set_it_says_where_to_go(client: TestClient, key: str) -> None:
    sign_in(client, key)
    page = client.get("/jobs/new", headers=HTML).text
    assert 'href="/datasets">Upload one</a>' in page


# The estimate


@pytest.mark.parametrize(
    ("task", "content"), [(FORECASTING, SERIES), (CLASSIFICATION, REVIEWS), (GENERATION, CORPUS)]
)
def test_an_estimate_is_what_would_be_queued(
    client: TestClient, headers: dict[str, str], task: str, content: str
) -> None:
    dataset = upload(client, headers, "data.txt" if task == GENERATION else "data.csv", content)
    body = {"task": task, "dataset": dataset, "training": {"optimizer": "sgd", "max_steps": 7}}
    answer = client.post(ESTIMATE, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    averages = found["config"]["training"]["averaging"] != "none"
    assert found["memory_bytes"] == 4 * (3 + averages) * found["parameters"]
    assert found["steps"] == 7
    assert found["seconds"] is None
    assert client.get("/api/v1/jobs", headers=headers).json()["data"] == []
    job = client.post("/api/v1/jobs", json=body, headers=headers).json()
    assert found["config"] == job["config"]
    assert found["queue"] == job["queue"]


def test_an_estimate_refuses_what_a_job_would_be_refused_for(
    client: TestClient, headers: dict[str, str], make_key: MakeKey
) -> None:
    dataset = upload(client, headers, "data.csv", SERIES)
    body = {"task": FORECASTING, "dataset": dataset}
    wrong = {**body, "architecture": {"hidden_size": 0}}
    answer = client.post(ESTIMATE, json=wrong, headers=headers)
    assert (answer.status_code, problem(answer)) == (422, "validation-error")
    assert answer.json()["errors"][0]["location"] == "body.architecture.hidden_size"
    reader = bearer(make_key([Scope.JOBS_READ, Scope.DATASETS_READ]))
    assert client.post(ESTIMATE, json=body, headers=reader).status_code == 200
    stranger = bearer(make_key(workspace_name="other"))
    assert client.post(ESTIMATE, json=body, headers=stranger).status_code == 404
