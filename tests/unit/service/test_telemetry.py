"""Logs: one line of JSON each, and no secret in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from service.auth.keys import new_key
from service.telemetry import configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("INFO", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_line_with_its_values(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        logging.getLogger("service.x").info("saved %s", "a", extra={"step": 3})
    (line,) = lines(stream)
    assert line["event"] == "saved a"
    assert (line["step"], line["request_id"]) == (3, "r1")
    assert (line["logger"], line["level"]) == ("service.x", "info")
    assert line["timestamp"].endswith("Z")


def test_a_text_cannot_forge_a_line(stream: io.StringIO) -> None:
    """bad_inputs sentiment-17."""
    logging.getLogger("x").warning("text %s", "x\n2026 ERROR admin login ok\x1b[31m")
    assert len(lines(stream)) == 1
    assert "\x1b" not in stream.getvalue()


def test_what_is_below_the_level_is_left_out(stream: io.StringIO) -> None:
    logging.getLogger("x").debug("no")
    assert stream.getvalue() == ""


def test_secrets_are_redacted_wherever_they_stand(stream: io.StringIO) -> None:
    """bad_inputs keys-34."""
    key = new_key()
    log = logging.getLogger("x")
    log.info("header %s", {"Authorization": f"Bearer {key.text}"})
    log.info("cut off: %s", key.text[:40])
    log.info("extra", extra={"password": "hunter2", "headers": {"authorization": "Basic hunter2"}})
    log.info("connecting to %s", "postgresql://reprise:hunter2@host/db")
    try:
        raise RuntimeError(f"bearer {key.text} at redis://:hunter2@host")
    except RuntimeError:
        log.exception("failed")
    output = stream.getvalue()
    assert len(lines(stream)) == 5
    assert "hunter2" not in output
    assert key.secret[:10] not in output
    assert "[redacted]" in output
    assert "RuntimeError" in lines(stream)[-1]["exception"]


def test_values_of_every_kind_are_written(stream: io.StringIO) -> None:
    logging.getLogger("x").info("m", extra={"a": [1, None, True, {2: {3}}], "b": object()})
    (line,) = lines(stream)
    assert line["a"] == [1, None, True, {"2": [3]}]
    assert line["b"].startswith("<object")
