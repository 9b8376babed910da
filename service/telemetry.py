"""Logs: one JSON object a line, with the request's id, without secrets.

Every process calls `configure_logging` once at its start and then uses `logging` as everybody does:
`log.info("saved %s", name, extra={"step": 3})`. Records of libraries take the same way.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, TextIO

import msgspec
import structlog

REDACTED = "[redacted]"
MAX_TEXT = 10_000  # characters of one value; a traceback fits

_SECRET_NAMES = re.compile(r"(?i)^(authorization|cookie|set-cookie|.*(password|secret|api_?key))$")
# A key of ours, whole or cut off; a password in a URL; a bearer token.
_SECRET_TEXTS = (
    (re.compile(r"\brp_[0-9A-Za-z]{16}_[0-9A-Za-z_]*"), REDACTED),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{REDACTED}@"),
    (re.compile(r"(?i)\b(bearer)\s+[\w.~+/=-]+"), rf"\1 {REDACTED}"),
)
_PERHAPS_SECRET = re.compile(r"rp_|://|(?i:bearer)")  # one of them is in every text above


def configure_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Sends all records of this process as JSON lines to `stream`, standard error by default."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
    )
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # they bring their own handlers
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # `service.api` logs every request


def _to_json(event: dict[str, Any], **_: Any) -> str:
    """Of plain values, as `redact` leaves them."""
    return msgspec.json.encode(event).decode()


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Replaces secrets by name and by form, in every value of an event."""
    return {str(name): _redacted(str(name), value) for name, value in event.items()}


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.match(name) is not None


def _redacted(name: str, value: Any) -> Any:
    if _is_secret(name):
        return REDACTED
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _redacted(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", item) for item in value]
    text = str(value)[:MAX_TEXT]
    if not _PERHAPS_SECRET.search(text):
        return text
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text
