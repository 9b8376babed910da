"""How a model is named: `name`, `name@alias`, `name:version`; bare is `name@production`."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from service.errors import Fault, ValidationError

PRODUCTION = "production"
REFERENCE_FORM = "write a model as name, name@alias or name:version"
# A name is part of an address and of a command line: no slash, no dot in front, nothing to quote.
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
ALIAS_PATTERN = r"^[a-z][a-z0-9_-]{0,49}$"
_VERSION_PATTERN = r"[1-9][0-9]{0,17}"

_REFERENCE = re.compile(
    rf"(?P<name>{NAME_PATTERN[1:-1]})"
    rf"(?:@(?P<alias>{ALIAS_PATTERN[1:-1]})|:(?P<version>{_VERSION_PATTERN}))?"
)


@dataclass(frozen=True)
class Reference:
    """A name with either an alias, which moves, or a version, which never does."""

    name: str
    alias: str | None
    version: int | None


def _check_reference(text: str) -> str:
    if _REFERENCE.fullmatch(text) is None:
        raise ValueError(REFERENCE_FORM)
    return text


ModelReference = Annotated[
    str,
    AfterValidator(_check_reference),
    Field(
        max_length=200,
        description="name, name@alias or name:version; bare: name@production.",
        examples=["demand", "demand@canary", "demand:3"],
    ),
]


def parse_reference(text: str) -> Reference:
    """Reads a reference; raises ValidationError at `model` where it is none."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ValidationError(
            f"{text[:200]!r} does not name a model: {REFERENCE_FORM}",
            faults=[Fault(("body", "model"), REFERENCE_FORM)],
        )
    name, alias, version = match.group("name", "alias", "version")
    if version:
        return Reference(name, None, int(version))
    return Reference(name, alias or PRODUCTION, None)
