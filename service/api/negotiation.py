"""Content types of requests and answers."""

from collections.abc import Sequence
from functools import lru_cache

from starlette.requests import Request


def media_type(request: Request) -> str:
    """The media type of the body without its parameters, in lower case; "" where none is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@lru_cache(maxsize=128)  # clients say the same each time
def is_json(content_type: str) -> bool:
    """Whether a Content-Type says JSON in UTF-8."""
    kind, *parameters = content_type.split(";")
    if kind.strip().lower() != "application/json":
        return False
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() != "utf-8":
            return False
    return True


def accepts(headers: Sequence[str], produced: Sequence[str]) -> bool:
    """Whether Accept headers allow one of the media types. No header allows everything."""
    ranges = [part for header in headers for part in header.split(",") if part.strip()]
    return not ranges or any(_quality(ranges, each) > 0 for each in produced)


def _quality(ranges: Sequence[str], produced: str) -> float:
    """The weight that the most specific matching range gives a media type."""
    best, quality = -1, 0.0
    kind = produced.partition("/")[0]
    precedence = {"*/*": 0, f"{kind}/*": 1, produced: 2}
    for each in ranges:
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        specificity = precedence.get(name, -1)
        if specificity > best:
            best, quality = specificity, _weight(parameters)
    return quality


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
