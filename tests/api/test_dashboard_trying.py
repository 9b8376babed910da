"""The page on which models are tried, without a browser."""

from starlette.testclient import TestClient

from service.auth.subjects import Scope
from tests.api.conftest import MakeKey, bearer
from tests.api.job_requests import upload

HTML = {"Accept": "text/html,*/*;q=0.8"}
SCRIPT = "<script>alert(1)</script>"
SERIES = "value\n" + "\n".join(str(number % 7) for number in range(60))


def page(client: TestClient, key: str, path: str) -> str:
    answer = client.get(path, headers={**HTML, **bearer(key)})
    assert answer.status_code == 200, answer.text
    return answer.text


def test_without_a_model_it_says_so(client: TestClient, key: str) -> None:
    assert "no model in production" in page(client, key, "/try")


def test_each_task_has_its_form(client: TestClient, key: str, models: dict[str, str]) -> None:
    assert 'data-task="time-series-forecasting"' in page(client, key, "/try")
    scripts = ("try_forecast.js", "try_labels.js", "try_text.js")
    for name, script in zip(models.values(), scripts, strict=True):
        text = page(client, key, f"/try?model={name}")
        assert script in text
        assert f"<option selected>{name}</option>" in text
    assert "<option selected>demand:1</option>" in page(client, key, "/try?model=demand:1")


def test_what_names_no_model_is_told(client: TestClient, key: str, models: dict[str, str]) -> None:
    for reference, status in (("demand:2", 404), ("other", 404), ("no model", 422)):
        answer = client.get(f"/try?model={reference}", headers={**HTML, **bearer(key)})
        assert answer.status_code == status


def test_data_sets_with_series_are_offered_to_who_may_see_them(
    client: TestClient, key: str, make_key: MakeKey, models: dict[str, str]
) -> None:
    """bad_inputs dashboard-01."""
    upload(client, bearer(key), f"{SCRIPT}.csv", SERIES)
    upload(client, bearer(key), "words.txt", "some words without any number " * 20)
    text = page(client, key, "/try")
    assert "&lt;script&gt;alert(1)" in text
    assert SCRIPT not in text
    assert "words.txt" not in text
    other = page(client, make_key([Scope.MODELS_READ, Scope.PREDICT]), "/try")
    assert "from-dataset" not in other


def test_it_needs_the_scope_to_predict(client: TestClient, make_key: MakeKey) -> None:
    key = make_key([Scope.MODELS_READ])
    assert client.get("/try", headers={**HTML, **bearer(key)}).status_code == 403
