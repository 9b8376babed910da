"""Reads JSON without guessing: what two readers could understand differently is an error.

Refused as malformed: bytes that are not UTF-8, a byte order mark, NaN and Infinity, duplicate
keys, integers of more than 4,300 digits, nesting deeper than 64. Refused as invalid, with the
place: NUL characters and lone surrogates, which no store of ours can hold.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from service.errors import Fault, MalformedJsonError, ValidationError

MAX_DEPTH = 64

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[{]+|[\]}]+")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SUSPICIOUS_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")

Location = tuple[str | int, ...]


def parse(body: bytes) -> Any:
    """The value of `body`; raises MalformedJsonError or, for an unsafe text, ValidationError."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"Byte {error.start} is not UTF-8.") from None
    _check_depth(text)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise MalformedJsonError(
            f"{error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError:  # what int() says of thousands of digits
        raise MalformedJsonError("An integer has too many digits.") from None
    if _SUSPICIOUS_ESCAPE.search(text):
        _check_texts(value)
    return value


def _check_depth(text: str) -> None:
    # Before parsing, because the parser recurses; the count alone settles almost every body.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    brackets = _STRING.sub("", text).encode().translate(None, _NO_BRACKETS)
    for match in _BRACKETS.finditer(brackets):
        run = match.group()
        depth += len(run) if run[0] in b"[{" else -len(run)
        if depth > MAX_DEPTH:
            raise MalformedJsonError(f"Nested deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedJsonError(f"The key {key[:100]!r} appears twice in one object.")
            seen.add(key)
    return value


def _no_constant(name: str) -> Any:
    raise MalformedJsonError(f"{name} is not JSON.")


def _check_texts(value: Any) -> None:
    faults = [
        Fault(location, "Text must not hold NUL or a lone surrogate.")
        for location, text in _texts(value, ("body",))
        if not _is_storable(text)
    ]
    if faults:
        raise ValidationError("A text holds a forbidden character.", faults=faults)


def _is_storable(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _texts(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    """Every key and every string of a value, with its place."""
    if isinstance(value, str):
        yield location, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*location, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*location, key), key
            yield from _texts(item, (*location, key))
