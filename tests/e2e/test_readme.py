"""The README's three sequences, copied and pasted."""

import json
import os
import shlex
import subprocess
from typing import Any

import pytest

from tests.e2e.readme import blocks
from tests.e2e.running import ROOT, Running

BLOCKS = blocks()


def paste(instance: Running, name: str) -> str:
    """What the block prints; a command of it that fails is a failure of the block."""
    assert instance.key is not None
    finished = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", BLOCKS[name]],
        cwd=ROOT,
        env={**os.environ, "REPRISE_URL": instance.url, "REPRISE_API_KEY": instance.key},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr + finished.stdout[-2000:]
    return finished.stdout


def answer(output: str) -> dict[str, Any]:
    """The last line: what the trained model said."""
    assert '"to":"succeeded"' in output
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def test_every_sequence_of_the_readme_is_tested() -> None:
    assert set(BLOCKS) == {"starters", "forecasting", "sentiment", "generation"}
    assert all(shlex.split(block, comments=True) for block in BLOCKS.values())


def test_starters(instance: Running) -> None:
    lines = [json.loads(line) for line in paste(instance, "starters").splitlines() if line]
    forecasts, sentiment, generation = lines
    assert len(forecasts["forecasts"][0]["mean"]) == 4
    assert [result["label"] for result in sentiment["results"]] == ["positive", "negative"]
    assert generation["model"]["name"] == "starter-english"


def test_forecasting(instance: Running) -> None:
    found = answer(paste(instance, "forecasting"))
    assert found["model"] == {"name": "demand", "version": 1}
    forecast = found["forecasts"][0]
    assert len(forecast["mean"]) == 6
    low, high = forecast["quantiles"]["0.1"], forecast["quantiles"]["0.9"]
    assert all(a <= b for a, b in zip(low, high, strict=True))
    # the day repeats: the morning after 70 lies near where the first one was, not at zero
    assert forecast["mean"][0] == pytest.approx(70, rel=0.25)


def test_sentiment(instance: Running) -> None:
    found = answer(paste(instance, "sentiment"))
    assert [result["label"] for result in found["results"]] == ["positive", "negative"]


def test_generation(instance: Running) -> None:
    output = paste(instance, "generation")
    pieces = [
        json.loads(line.removeprefix("data:"))["text"]
        for event in output.replace("\r\n", "\n").split("\n\n")
        if "event: token" in event
        for line in event.splitlines()
        if line.startswith("data:")
    ]
    text = "".join(pieces)
    assert len(text) >= 100
    assert "event: done" in output
    letters = sum(character.isalpha() or character.isspace() for character in text)
    assert letters > 0.8 * len(text)
