"""POST /api/v1/sentiment with `attributions`, on a tiny trained network."""

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.api.bad_rows import Row, check_rows
from tests.api.conftest import MakeApp
from tests.serving import BAD
from tests.serving import GOOD as GOOD_TEXT

PATH = "/api/v1/sentiment"
GOOD: dict[str, Any] = {"model": "reviews", "texts": [GOOD_TEXT, BAD], "attributions": True}
INVALID = (422, "validation-error")

pytestmark = pytest.mark.usefixtures("models")


def ask(client: TestClient, headers: dict[str, str], **change: Any) -> Any:
    body = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    response = client.post(PATH, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()["results"]


def test_each_token_with_its_place_and_what_it_adds(
    client: TestClient, headers: dict[str, str]
) -> None:
    for result, text in zip(ask(client, headers), (GOOD_TEXT, BAD), strict=True):
        found = result["attributions"]
        assert found["label"] == result["label"]
        tokens = found["tokens"]
        assert [each["text"] for each in tokens] == text.split()
        assert [text[each["start"] : each["end"]] for each in tokens] == text.split()
        added = sum(each["attribution"] for each in tokens)
        assert found["gap"] == pytest.approx(found["log_odds"] - found["baseline"] - added)
        assert abs(found["gap"]) <= 0.01 * max(1, abs(added + found["gap"]))
        assert 1 / (1 + np.exp(-found["log_odds"])) == pytest.approx(result["score"], abs=0.01)
    words = {each["text"]: each["attribution"] for each in tokens}
    assert words["awful"] > words["and"]


def test_scores_are_the_same_bits_with_and_without(
    client: TestClient, headers: dict[str, str]
) -> None:
    plain = ask(client, headers, attributions=False, all_scores=True)
    assert all("attributions" not in result for result in plain)
    for result, expected in zip(ask(client, headers, all_scores=True), plain, strict=True):
        del result["attributions"]
        assert result == expected


def test_another_label_may_be_chosen(client: TestClient, headers: dict[str, str]) -> None:
    chosen = ask(client, headers, attribution_label="negative")
    assert [each["label"] for each in chosen] == ["positive", "negative"]
    assert {each["attributions"]["label"] for each in chosen} == {"negative"}
    first = ask(client, headers)[0]["attributions"]["tokens"]
    for one, other in zip(first, chosen[0]["attributions"]["tokens"], strict=True):
        assert one["attribution"] == pytest.approx(-other["attribution"], abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "  lovely\n\tfilm ",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 lovely \U0001f600 film",
        "lovely cafe\u0301 \ufb01lm \u00bd",
        "\u0939\u093f lovely \u202ebackwards\u202c",
        "   ",
    ],
)
def test_places_give_back_the_text(client: TestClient, headers: dict[str, str], text: str) -> None:
    (result,) = ask(client, headers, texts=[text])
    tokens = result["attributions"]["tokens"]
    assert tokens
    for each in tokens:
        assert text[each["start"] : each["end"]] == each["text"]
    assert sorted(tokens, key=lambda each: each["start"]) == tokens


def test_of_a_long_text_only_what_was_read_is_answered(
    client: TestClient, headers: dict[str, str]
) -> None:
    (result,) = ask(client, headers, texts=["lovely film " * 40])
    assert result["truncated"]
    tokens = result["attributions"]["tokens"]
    assert (len(tokens), tokens[-1]["end"]) == (50, 25 * len("lovely film ") - 1)


def test_what_is_too_long_is_refused_by_name(make_app: MakeApp, headers: dict[str, str]) -> None:
    with TestClient(make_app(max_attribution_tokens=17), base_url="http://localhost") as client:
        assert len(ask(client, headers, texts=[GOOD_TEXT, "a film"])) == 2
        response = client.post(PATH, json=GOOD, headers=headers)
        assert response.status_code == 422
        assert response.json()["errors"][0]["location"] == "body.attributions"
        assert "17 tokens" in response.json()["detail"]
        assert len(ask(client, headers, attributions=None)) == 2


ROWS = [
    Row("no flag", *INVALID, {"attributions": "yes"}, location="body.attributions"),
    Row("no such label", *INVALID, {"attribution_label": "odd"}, location="body.attribution_label"),
    Row("no label", *INVALID, {"attribution_label": 1}, location="body.attribution_label"),
    Row("label alone", *INVALID, {"attributions": ..., "attribution_label": "positive"}),
    Row("of a step", *INVALID, {"attribution": True}, location="body.attribution"),
]


def test_bad_inputs(client: TestClient, headers: dict[str, str]) -> None:
    check_rows(client, PATH, headers, GOOD, ROWS)
