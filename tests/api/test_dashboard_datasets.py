"""The pages of data sets without a browser, and what is drawn on them."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from service.auth.subjects import Scope
from service.dashboard import plots
from service.db.engine import Database
from service.db.tables import Dataset
from tests.api.conftest import MakeKey, bearer
from tests.api.job_requests import CORPUS, REVIEWS, SERIES, submit, upload
from tests.api.test_dashboard import HTML, sign_in

GAPS = """date,store,sales
01.01.2024,a,1
02.01.2024,a,
03.01.2024,a,3
07.01.2024,a,4
08.01.2024,a,5
01.01.2024,b,7
02.01.2024,b,8
03.01.2024,b,9
04.01.2024,b,9
13.01.2024,b,9
"""
WIDE = '{"id": "x", "target": [1, null, 3]}\n{"id": "y", "target": [4, 5, 6]}\n'


def drawn(client: TestClient, dataset: str) -> dict[str, Any]:
    page = client.get(f"/datasets/{dataset}", headers=HTML)
    assert page.status_code == 200, page.text
    found: dict[str, Any] = json.loads(
        page.text.partition('type="application/json">')[2].partition("</script>")[0]
    )
    return found


def test_the_list_comes_in_pages(client: TestClient, key: str, headers: dict[str, str]) -> None:
    ids = [upload(client, headers, f"{n}.csv", SERIES) for n in range(3)]
    sign_in(client, key)
    first = client.get("/datasets?limit=2", headers=HTML).text
    assert f"/datasets/{ids[2]}" in first
    assert f"/datasets/{ids[0]}" not in first
    assert f"/datasets?after={ids[1]}" in first
    second = client.get(f"/datasets?after={ids[1]}", headers=HTML).text
    assert f"/datasets/{ids[0]}" in second
    assert f"/datasets/{ids[1]}" not in second


def test_lines_are_broken_where_values_are_missing_and_timesteps_left_out(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "gaps.csv", GAPS)
    sign_in(client, key)
    series = drawn(client, dataset)["series"]
    assert series["axis"] == "time"
    assert [line["name"] for line in series["lines"]] == ["a", "b"]
    points = series["lines"][0]["points"]
    assert points == [
        ["2024-01-01T00:00:00+00:00", 1],
        ["2024-01-02T00:00:00+00:00", None],
        ["2024-01-03T00:00:00+00:00", 3],
        ["2024-01-04T00:00:00+00:00", None],
        ["2024-01-07T00:00:00+00:00", 4],
        ["2024-01-08T00:00:00+00:00", 5],
    ]


def test_times_that_no_calendar_has_are_left_out(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    rows = "0000-01-01,1\n" + "".join(f"2024-01-{day:02d},{day}\n" for day in range(1, 20))
    dataset = upload(client, headers, "odd.csv", "date,value\n" + rows)
    sign_in(client, key)
    assert drawn(client, dataset)["series"]["lines"][0]["points"][0][0].startswith("2024-01-01")


def test_series_of_one_line_each_are_drawn_over_their_timesteps(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "wide.jsonl", WIDE)
    sign_in(client, key)
    assert drawn(client, dataset)["series"] == {
        "axis": "value",
        "lines": [
            {"name": "x", "points": [[0, 1], [1, None], [2, 3]]},
            {"name": "y", "points": [[0, 4], [1, 5], [2, 6]]},
        ],
    }


def test_labels_and_lengths_are_counted(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "reviews.csv", REVIEWS)
    sign_in(client, key)
    found = drawn(client, dataset)
    assert found["series"] is None
    assert sum(count for _, count in found["text_lengths"]) == 80
    assert found["series_lengths"] == []
    text = client.get(f"/datasets/{dataset}", headers=HTML).text
    assert "a warm and lovely film" in text
    assert text.count('<svg class="bar"') == 2


def test_texts_are_counted_by_their_characters() -> None:
    assert plots.text_length_bars([]) == []
    assert plots.text_length_bars(["", "ab", ""]) == [("0", 2), ("1", 0), ("2", 1)]
    assert plots.text_length_bars(["x" * 3, "x" * 500])[0] == ("3–23", 1)


def test_series_are_counted_by_their_timesteps(
    client: TestClient, key: str, headers: dict[str, str], database: Database
) -> None:
    """Of a file that was taken in before they were counted, the page shows the rest."""
    uneven = GAPS.replace("04.01.2024,b,9\n", "")
    dataset = upload(client, headers, "uneven.csv", uneven)
    shown = client.get(f"/api/v1/datasets/{dataset}", headers=headers).json()["profile"]["series"]
    assert shown["lengths"] == [
        {"min_length": 4, "max_length": 4, "series": 1},
        {"min_length": 5, "max_length": 5, "series": 1},
    ]
    sign_in(client, key)
    assert drawn(client, dataset)["series_lengths"] == [["4", 1], ["5", 1]]
    assert 'id="series-lengths"' in client.get(f"/datasets/{dataset}", headers=HTML).text

    with database.transaction() as db:
        kept = db.get_one(Dataset, UUID(dataset))
        series = {name: part for name, part in kept.profile["series"].items() if name != "lengths"}
        kept.profile = {**kept.profile, "series": series}
    assert drawn(client, dataset)["series_lengths"] == []
    page = client.get(f"/datasets/{dataset}", headers=HTML).text
    assert 'id="series-lengths"' not in page
    assert "Shortest, median, longest" in page
    older = client.get(f"/api/v1/datasets/{dataset}", headers=headers).json()
    assert older["profile"]["series"]["lengths"] is None


def test_series_of_one_length_need_no_bars(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "gaps.csv", GAPS)
    sign_in(client, key)
    assert drawn(client, dataset)["series_lengths"] == []


def test_a_plain_text_shows_its_lines(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "corpus.txt", CORPUS)
    sign_in(client, key)
    assert drawn(client, dataset)["series"] is None
    assert "the quick brown fox" in client.get(f"/datasets/{dataset}", headers=HTML).text


def test_names_and_cells_are_text(client: TestClient, key: str, headers: dict[str, str]) -> None:
    """bad_inputs dashboard-01, dashboard-02."""
    ugly = "</script><script>alert(1)</script>"
    rows = f'text,label\n"{ugly} is what it says",good\n"another one is here",bad\n'
    dataset = upload(client, headers, f"{ugly}.csv", rows)
    sign_in(client, key)
    for path in ("/datasets", f"/datasets/{dataset}"):
        text = client.get(path, headers=HTML).text
        assert "alert(1)" in text
        assert "<script>alert" not in text


def test_who_may_only_read_sees_no_way_to_change(
    client: TestClient, make_key: MakeKey, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "series.csv", SERIES)
    sign_in(client, make_key([Scope.DATASETS_READ, Scope.JOBS_READ, Scope.MODELS_READ]))
    assert 'id="upload"' not in client.get("/datasets", headers=HTML).text
    assert 'id="delete"' not in client.get(f"/datasets/{dataset}", headers=HTML).text


def test_the_jobs_of_a_data_set(client: TestClient, key: str, headers: dict[str, str]) -> None:
    used, other = (upload(client, headers, f"{n}.csv", SERIES) for n in range(2))
    job = submit(client, headers, used)["id"]
    submit(client, headers, other)
    listed = client.get(f"/api/v1/jobs?dataset={used}", headers=headers).json()
    assert [each["id"] for each in listed["data"]] == [job]
    assert client.get(f"/api/v1/jobs?dataset={uuid4()}", headers=headers).json()["data"] == []
    sign_in(client, key)
    assert f"/jobs/{job}" in client.get(f"/datasets/{used}", headers=HTML).text
    assert f'<a href="/datasets/{used}">0.csv</a>' in client.get(f"/jobs/{job}", headers=HTML).text


@pytest.mark.usefixtures("models")
def test_the_predictions_of_a_data_set(
    client: TestClient, key: str, headers: dict[str, str]
) -> None:
    dataset = upload(client, headers, "series.csv", SERIES)
    body = {"model": "demand", "dataset": dataset}
    batch = client.post("/api/v1/batches", json=body, headers=headers).json()["id"]
    sign_in(client, key)
    used = client.get(f"/datasets/{dataset}", headers=HTML).text
    assert f'<a href="/jobs/{batch}">demand</a>' in used
    page = client.get(f"/jobs/{batch}", headers=HTML).text
    assert '<a href="/models/demand?version=1">demand, version 1</a>' in page
    assert "Predicts with" in page
    assert 'aria-labelledby="curves" hidden' in page
    assert batch in client.get("/jobs?kind=prediction", headers=HTML).text
    assert batch not in client.get("/jobs", headers=HTML).text


def test_a_preview_is_as_long_as_asked_for(client: TestClient, headers: dict[str, str]) -> None:
    dataset = upload(client, headers, "series.csv", SERIES)
    url = f"/api/v1/datasets/{dataset}/preview"
    assert len(client.get(f"{url}?rows=100", headers=headers).json()["rows"]) == 100
    assert client.get(f"{url}?rows=1001", headers=headers).status_code == 422


def test_a_data_set_of_somebody_else_is_not_there(
    client: TestClient, key: str, make_key: MakeKey
) -> None:
    """bad_inputs dashboard-20."""
    dataset = upload(client, bearer(make_key(workspace_name="other")), "x.csv", SERIES)
    sign_in(client, key)
    assert client.get(f"/datasets/{dataset}", headers=HTML).status_code == 404
