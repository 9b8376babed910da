"""What `reprise predict forecast` sends."""

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
