"""The page that compares jobs, without a browser."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from service.api.schemas.jobs import JobView
from service.auth.subjects import Scope
from service.dashboard.compare import settings_of
from tests.api.conftest import MakeKey, bearer
from tests.api.job_requests import CORPUS, GENERATION, SERIES, submit, upload

Headers = dict[str, str]
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def series(client: TestClient, headers: Headers) -> str:
    return upload(client, headers, f"{SCRIPT}.csv", SERIES)


@pytest.fixture
def two(client: TestClient, headers: Headers, series: str) -> list[str]:
    """Jobs that differ in one choice, and in a word of somebody's own."""
    rates = (0.001, 0.02)
    return [
        submit(
            client,
            headers,
            series,
            training={"learning_rate": rate},
            metadata={"note": f"{SCRIPT} {rate}"},
        )["id"]
        for rate in rates
    ]


def address(jobs: list[str]) -> str:
    return "/compare?" + "&".join(f"job={job}" for job in jobs)


def page(client: TestClient, headers: Headers, path: str) -> str:
    """The main part of a page."""
    answer = client.get(path, headers={"Accept": "text/html", **headers})
    assert answer.status_code == 200, answer.text
    return answer.text.partition("<main")[2]


def refusal(client: TestClient, headers: Headers, path: str) -> tuple[int, str]:
    answer = client.get(path, headers={"Accept": "text/html", **headers})
    return answer.status_code, answer.text


def differing(text: str) -> dict[str, list[str]]:
    """The settings that are shown at first: the cells of each."""
    rows = re.findall(r"<tr >\s*<th scope=\"row\">(.+?)</th>\s*(.+?)\s*</tr>", text, re.DOTALL)
    return {path: re.findall(r"<td>(.*?)</td>", cells) for path, cells in rows}


def test_what_differs_is_marked(client: TestClient, headers: Headers, two: list[str]) -> None:
    settings = page(client, headers, address(two)).partition('id="settings"')[2]
    assert differing(settings) == {
        "metadata.note": [
            "&lt;script&gt;alert(1)&lt;/script&gt; 0.001",
            "<mark>≠ &lt;script&gt;alert(1)&lt;/script&gt; 0.02</mark>",
        ],
        "training.learning_rate": ["0.001", "<mark>≠ 0.02</mark>"],
    }
    assert "2 settings differ" in settings
    assert settings.count('class="same"') > 20


def test_names_are_text(client: TestClient, headers: Headers, two: list[str]) -> None:
    """bad_inputs dashboard-01, dashboard-02."""
    text = page(client, headers, address(two))
    assert SCRIPT not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.csv" in text


def test_jobs_keep_their_order_and_stand_once(
    client: TestClient, headers: Headers, two: list[str]
) -> None:
    text = page(client, headers, address([two[1], two[0], two[1]]))
    assert re.findall(r'id="result-(.+?)"', text) == [two[1], two[0]]
    assert 'aria-label="Remove B"' in text
    assert f'href="/compare?job={two[1]}" aria-label="Remove B"' in text


def test_a_page_without_jobs_or_with_one_offers_others(
    client: TestClient, headers: Headers, two: list[str]
) -> None:
    offered = page(client, headers, "/compare").partition("</form>")[0]
    assert all(f'<option value="{job}"' in offered for job in two)
    one = page(client, headers, address(two[:1])).partition("</form>")[0]
    assert f'<input type="hidden" name="job" value="{two[0]}">' in one
    assert re.findall(r'<option value="(.+?)"', one) == [two[1]]


def test_lists_and_pages_of_jobs_lead_there(
    client: TestClient, headers: Headers, two: list[str]
) -> None:
    boxes = re.findall(r'form="compare" name="job" value="(.+?)"', page(client, headers, "/jobs"))
    assert boxes == two[::-1]
    assert f'href="/compare?job={two[0]}"' in page(client, headers, f"/jobs/{two[0]}")


def test_too_many_are_refused(client: TestClient, headers: Headers) -> None:
    status, text = refusal(client, headers, address([str(uuid4()) for _ in range(9)]))
    assert status == 422
    assert "9 jobs, and 8 can be compared" in text


def test_a_job_that_is_not_there_is_named(
    client: TestClient, headers: Headers, two: list[str], make_key: MakeKey
) -> None:
    """bad_inputs dashboard-20."""
    missing = str(uuid4())
    status, text = refusal(client, headers, address([two[0], missing]))
    assert (status, missing in text, two[0] in text) == (404, True, False)
    other = bearer(make_key(workspace_name="other"))
    status, text = refusal(client, other, address(two))
    assert (status, two[0] in text) == (404, True)
    assert refusal(client, headers, "/compare?job=first")[0] == 422


def test_a_key_without_data_sets_sees_no_names_of_them(
    client: TestClient, two: list[str], series: str, make_key: MakeKey
) -> None:
    text = page(client, bearer(make_key([Scope.JOBS_READ])), address(two))
    assert series in text
    assert "alert(1)&lt;/script&gt;.csv" not in text


def test_jobs_of_two_tasks_have_settings_that_the_other_lacks(
    client: TestClient, headers: Headers, two: list[str]
) -> None:
    corpus = upload(client, headers, "corpus.txt", CORPUS)
    other = submit(client, headers, corpus, task=GENERATION)
    jobs = [
        JobView.model_validate(client.get(f"/api/v1/jobs/{job}", headers=headers).json())
        for job in (two[0], other["id"])
    ]
    found: dict[str, Any] = {
        setting.path: setting for setting in settings_of(jobs, {UUID(corpus): "corpus"})
    }
    assert found["task"].values == ["time-series-forecasting", GENERATION]
    assert found["dataset"].values == [str(jobs[0].dataset), "corpus"]
    assert found["data.horizon"].values[1] == "–"
    assert found["data.horizon"].differs
    assert not found["device"].differs
    assert "different tasks" in page(client, headers, address([two[0], other["id"]]))
