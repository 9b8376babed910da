"""What `reprise predict` sends, and what it shows of the answer."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.commands import predict
from service.commands.client import Client


def sent(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"forecasts": []})

    transport = httpx.MockTransport(answer)
    client = Client(httpx.Client(base_url="http://test", transport=transport))
    monkeypatch.setattr(predict, "connect", lambda: nullcontext(client))
    result = CliRunner().invoke(predict.app, ["forecast", "demand", *arguments])
    assert result.exit_code == 0, result.output
    (body,) = bodies
    assert body.pop("model") == "demand"
    return body


def test_one_series_with_the_time_of_its_first_value(monkeypatch: pytest.MonkeyPatch) -> None:
    body = sent(monkeypatch, "1,null,3", "--start", "2024-01-31", "--horizon", "2")
    assert body == {"series": [1, None, 3], "start": "2024-01-31", "horizon": 2}


def test_many_series_that_begin_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "series.json"
    file.write_text("[[1, 2], [3]]")
    body = sent(monkeypatch, "--file", str(file), "--start", "2024-01-31")
    assert body == {"series": [[1, 2], [3]], "start": "2024-01-31"}


def test_a_file_may_hold_covariates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = {"series": [[1, 2]], "future_covariates": [{"holiday": [0, 0, 1]}]}
    file = tmp_path / "series.json"
    file.write_text(json.dumps(content))
    assert sent(monkeypatch, "--file", str(file)) == content


LABELLED = {
    "model": {"name": "reviews", "version": 1},
    "results": [
        {
            "label": "negative",
            "score": 0.9,
            "attributions": {
                "label": "negative",
                "log_odds": 2.197,
                "baseline": 0.1,
                "gap": -0.0021,
                "tokens": [
                    {"start": 0, "end": 4, "text": "Warm", "attribution": -1.6},
                    {"start": 4, "end": 5, "text": "\n", "attribution": 0.5},
                    {"start": 5, "end": 9, "text": "\x1b[2J", "attribution": 3.1991},
                ],
            },
        }
    ],
}


def labelled(monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[dict[str, Any], str]:
    """What is sent of one text, and what is printed."""
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=LABELLED)

    client = Client(httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer)))
    monkeypatch.setattr(predict, "connect", lambda: nullcontext(client))
    result = CliRunner().invoke(predict.app, ["sentiment", "reviews", "Warm, but", *options])
    assert result.exit_code == 0, result.output
    (body,) = bodies
    return body, result.output


def test_attributions_are_a_table_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    body, output = labelled(monkeypatch, "--attributions", "--attribution-label", "negative")
    assert body["attributions"] is True
    assert body["attribution_label"] == "negative"
    rows = [line.split() for line in output.splitlines()]
    assert ["Warm", "0-4", "-1.6"] in rows
    assert ['"\\n"', "4-5", "+0.5"] in rows
    assert ['"\\u001b[2J"', "5-9", "+3.199"] in rows
    assert "\x1b" not in output
    assert "log-odds 2.197, without any word 0.1; the attributions miss 0.0021 of it" in output


def test_attributions_as_json_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, output = labelled(monkeypatch, "--attributions", "--json")
    assert json.loads(output) == LABELLED
    body, output = labelled(monkeypatch)
    assert body["attributions"] is False
    assert "attribution_label" not in body
    assert "adds" not in output
