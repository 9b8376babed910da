"""POST /api/v1/sentiment on a tiny trained network."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.api import sentiment
from service.api.schemas.sentiment import SentimentAnswer
from service.auth.subjects import Scope
from service.inference.requests import Classifications, ServedVersion
from tests.api.bad_rows import Row, check_rows
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.serving import BAD
from tests.serving import GOOD as GOOD_TEXT

PATH = "/api/v1/sentiment"
GOOD: dict[str, Any] = {"model": "reviews", "texts": [GOOD_TEXT, BAD]}

pytestmark = pytest.mark.usefixtures("models")


def ask(client: TestClient, headers: dict[str, str], **change: Any) -> Any:
    body = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    response = client.post(PATH, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_answer(client: TestClient, headers: dict[str, str]) -> None:
    answer = ask(client, headers)
    assert answer["model"] == {"name": "reviews", "version": 1}
    good, bad = answer["results"]
    assert (good["label"], bad["label"]) == ("positive", "negative")
    assert good["score"] > 0.9
    assert good["known_share"] == 1
    assert not good["low_confidence"]
    assert not good["truncated"]
    assert "scores" not in good


def test_one_text_equals_it_in_a_list(client: TestClient, headers: dict[str, str]) -> None:
    (alone,) = ask(client, headers, text=BAD, texts=None)["results"]
    together = ask(client, headers)["results"][1]
    assert alone.pop("score") == pytest.approx(together.pop("score"), abs=1e-5)
    assert alone == together


def test_all_scores_sum_to_one_and_begin_with_the_best(
    client: TestClient, headers: dict[str, str]
) -> None:
    for result in ask(client, headers, all_scores=True)["results"]:
        scores = result["scores"]
        assert scores[0] == {"label": result["label"], "score": result["score"]}
        assert sum(each["score"] for each in scores) == pytest.approx(1)


def test_texts_times_labels_are_limited_where_all_scores_are_asked(
    make_app: MakeApp, headers: dict[str, str]
) -> None:
    """There was no cap: 10 000 texts on a network of many labels made an answer of any size."""
    with TestClient(make_app(max_sentiment_scores=4), base_url="http://localhost") as client:
        assert ask(client, headers, all_scores=True)
        three = [GOOD_TEXT] * 3
        refused = client.post(
            PATH, json={**GOOD, "texts": three, "all_scores": True}, headers=headers
        )
        assert (refused.status_code, problem(refused)) == (422, "validation-error")
        assert "6 scores" in refused.json()["detail"]
        assert len(ask(client, headers, texts=three)["results"]) == 3


@pytest.mark.parametrize("all_scores", [False, True])
def test_a_long_answer_is_written_beside_the_event_loop(
    client: TestClient,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    all_scores: bool,
) -> None:
    """The scores of all labels were built on the event loop, also where nobody asked for them."""
    on_the_loop = []
    write = sentiment._answer

    def watched(*args: Any, **options: Any) -> bytes:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            on_the_loop.append(False)
        else:
            on_the_loop.append(True)
        return write(*args, **options)

    monkeypatch.setattr(sentiment, "_answer", watched)
    short = ask(client, headers, all_scores=all_scores)
    monkeypatch.setattr(sentiment, "THREADED_SCORES", 3)
    assert ask(client, headers, all_scores=all_scores) == short
    assert on_the_loop == [True, False]


def test_all_scores_of_many_labels_are_ranked() -> None:
    probabilities_bc = np.array([[0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    found = Classifications(["a", "b", "c"], probabilities_bc, [False, True], [1.0, 0.1])
    version = ServedVersion("reviews", 1, "text-classification", Path(), "")
    content = sentiment._answer(version, found, all_scores=True)
    first, second = SentimentAnswer.model_validate_json(content).results
    for result, labels, scores in (
        (first, "cba", [0.7, 0.2, 0.1]),
        (second, "abc", [0.4, 0.4, 0.2]),
    ):
        assert result.scores is not None
        assert [each.label for each in result.scores] == list(labels)
        assert [each.score for each in result.scores] == scores
        assert (result.label, result.score) == (labels[0], scores[0])


def test_many_texts_keep_their_order(client: TestClient, headers: dict[str, str]) -> None:
    texts = [" ".join([GOOD_TEXT, BAD][i % 2].split()[i % 3 :] * (1 + i % 4)) for i in range(200)]
    results = ask(client, headers, texts=texts)["results"]
    assert [result["label"] for result in results] == ["positive", "negative"] * 100


@pytest.mark.parametrize(
    "text",
    [
        "   ",
        "😀😀😀",
        "\u200d",
        "\u200d" * 500,
        "ein Satz den das Netz nie sah",
        "\ufeff",
        "é" * 2_000,
        "[PAD] [UNK]",
    ],
)
def test_a_text_without_known_words_is_labelled_with_low_confidence(
    client: TestClient, headers: dict[str, str], text: str
) -> None:
    """sentiment-02, sentiment-15 and sentiment-27."""
    (result,) = ask(client, headers, texts=[text])["results"]
    assert result["label"] in ("positive", "negative")
    assert result["low_confidence"]


def test_a_long_text_is_cut_and_says_so(client: TestClient, headers: dict[str, str]) -> None:
    """sentiment-24."""
    (result,) = ask(client, headers, texts=["lovely " * 51])["results"]
    assert result["truncated"]
    (result,) = ask(client, headers, texts=["lovely " * 50])["results"]
    assert not result["truncated"]


def test_markup_is_only_ever_json(client: TestClient, headers: dict[str, str]) -> None:
    """sentiment-16: also where the text is part of an error."""
    script = "<script>alert(1)</script>"
    response = client.post(PATH, json={**GOOD, "texts": [script]}, headers=headers)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-type"] == "application/json"
    response = client.post(PATH, json={**GOOD, "model": script}, headers=headers)
    assert response.status_code == 422
    assert script not in response.text


def test_no_text_reaches_the_log(
    client: TestClient, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """sentiment-17."""
    with caplog.at_level(logging.DEBUG):
        ask(client, headers, texts=["x\n2026 ERROR admin login ok \x1b[31m"])
    assert "admin login" not in caplog.text


INVALID = (422, "validation-error")
ROWS = [
    Row("sentiment-01", *INVALID, {"text": "", "texts": ...}, location="body.text"),
    Row("sentiment-01 list", *INVALID, {"texts": [""]}, location="body.texts.0"),
    Row("sentiment-06", *INVALID, {"texts": []}, location="body.texts"),
    Row("sentiment-07", *INVALID, {"texts": ["a"] * 100_001}, location="body.texts"),
    Row("sentiment-09 null", *INVALID, {"texts": ["a", None]}, location="body.texts.1"),
    Row("sentiment-09 number", *INVALID, {"texts": [1]}, location="body.texts.0"),
    Row("sentiment-09 list", *INVALID, {"texts": [["a"]]}, location="body.texts.0"),
    Row("sentiment-09 one", *INVALID, {"texts": "a"}, location="body.texts"),
    Row("sentiment-10", *INVALID, {"texts": ["a\0b"]}, location="body.texts.0"),
    Row("sentiment-11", *INVALID, raw=b'{"model":"reviews","texts":["ok","\\ud800"]}'),
    Row("sentiment-12", 400, "malformed-json", raw=b'{"model":"reviews","texts":["\xff"]}'),
    Row("sentiment-19", *INVALID, {"labels": ["positive"]}, location="body.labels"),
    Row("sentiment-20", *INVALID, {"all_scores": "yes"}, location="body.all_scores"),
    Row("sentiment-20 other", *INVALID, {"return_probs": True}),
    Row("sentiment-21", *INVALID, {"threshold": -1}, location="body.threshold"),
    Row("sentiment-21 NaN", 400, "malformed-json", raw=b'{"model":"reviews","threshold":NaN}'),
    Row("sentiment-22", 409, "model-task-mismatch", {"model": "verses"}),
    Row("sentiment-22 unknown", 404, "not-found", {"model": "nobody"}),
    Row("sentiment-23", *INVALID, {"texts": ["a"] * 17 + [7]}, location="body.texts.17"),
    Row("sentiment-28", 400, "malformed-json", raw=b'{"model":"reviews","texts":["a"],"texts":[]}'),
    Row("sentiment-29 deep", 400, "malformed-json", raw=b'{"texts":' + b"[" * 10_000),
    Row("sentiment-29 big", 400, "malformed-json", raw=b'{"texts":[' + b"9" * 5_000 + b"]}"),
    Row("sentiment-31", 415, "unsupported-media-type", headers={"Content-Encoding": "gzip"}),
    Row("sentiment-32", 401, "unauthenticated", headers={"Authorization": None}),
    Row("sentiment-38", 405, "method-not-allowed", method="OPTIONS"),
    Row("both", *INVALID, {"text": "a"}),
    Row("neither", *INVALID, {"texts": ...}),
    Row("one text too long", *INVALID, {"texts": ["a", "b" * 100_001]}, location="body.texts.1"),
    Row("all too long", *INVALID, {"texts": ["b" * 100_000] * 41}, location="body.texts"),
]


def test_bad_inputs(client: TestClient, headers: dict[str, str]) -> None:
    check_rows(client, PATH, headers, GOOD, ROWS)


def test_head_and_foreign_origins(client: TestClient, headers: dict[str, str]) -> None:
    """sentiment-38."""
    assert client.head(PATH, headers=headers).status_code == 405
    foreign = {**headers, "Origin": "https://evil.example"}
    for response in (
        client.options(PATH, headers=foreign),
        client.post(PATH, json=GOOD, headers=foreign),
    ):
        assert "access-control-allow-origin" not in response.headers


def test_scopes_and_workspaces(client: TestClient, make_key: MakeKey) -> None:
    """sentiment-22 and sentiment-34."""
    stranger = client.post(PATH, json=GOOD, headers=bearer(make_key(workspace_name="other")))
    assert (stranger.status_code, problem(stranger)) == (404, "not-found")
    powerless = client.post(PATH, json=GOOD, headers=bearer(make_key([Scope.MODELS_READ])))
    assert (powerless.status_code, problem(powerless)) == (403, "forbidden")


def test_the_example_of_the_schema_is_answered(client: TestClient, headers: dict[str, str]) -> None:
    document = client.get("/openapi.json", headers=headers).json()
    properties = document["components"]["schemas"]["SentimentRequest"]["properties"]
    (example,) = properties["text"]["examples"]
    assert ask(client, headers, text=example, texts=None)["results"]
