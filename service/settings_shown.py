"""The settings as a person may see them: grouped, beside their defaults, without secrets."""

from typing import Any, NamedTuple, get_args
from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from service.settings import Settings

# The first setting of each group: those after it belong to it too, in the order of `Settings`.
GROUPS = {
    "database_url": "Servers and files",
    "host": "HTTP",
    "database_pool_size": "Database",
    "max_columns": "Data sets",
    "lease_seconds": "Jobs",
    "worker_slots": "Workers",
    "inference_device": "Inference",
    "session_ttl_seconds": "Live sessions",
    "log_level": "Log",
}
SET, NOT_SET, HIDDEN = "set", "not set", "***"
OPEN_OPTIONS = {"db", "host", "port", "sslmode"}  # of URLs; the value of any other may be a secret


class Shown(NamedTuple):
    """One setting. `value` and `default` are JSON; `required`: there is no default."""

    name: str
    group: str
    description: str
    value: Any
    default: Any
    required: bool
    changed: bool
    secret: bool


def shown(settings: Settings) -> list[Shown]:
    """All settings, in their order."""
    rows: list[Shown] = []
    for name, info in Settings.model_fields.items():
        value, required = getattr(settings, name), info.is_required()
        rows.append(
            Shown(
                name=f"REPRISE_{name.upper()}",
                group=GROUPS.get(name) or rows[-1].group,
                description=info.description or "",
                value=_open(info, value),
                default=None if required else _open(info, info.default),
                required=required,
                changed=not required and value != info.default,
                secret=_is_secret(info),
            )
        )
    return rows


def masked(url: str) -> str:
    """A URL with its password and what its options may hide replaced; "set" where a password that
    was written without escapes could be anywhere in it."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none: then it is the beginning of a password
    except ValueError:
        return SET
    if not parts.scheme or parts.fragment or set("@;") & set(parts.path + parts.query):
        return SET
    who, at, place = parts.netloc.rpartition("@")
    user, colon, _ = who.partition(":")
    options = (option.partition("=")[::2] for option in parts.query.split("&") if option)
    query = "&".join(
        f"{name}={value if name.lower() in OPEN_OPTIONS else HIDDEN}" for name, value in options
    )
    shown_place = f"{user}{f'{colon}{HIDDEN}' if colon else ''}{at}{place}"
    return f"{parts.scheme}://{shown_place}{parts.path}{f'?{query}' if query else ''}"


def _open(info: FieldInfo, value: Any) -> Any:
    """As JSON, if everybody may see it."""
    if not _is_secret(info):
        return to_jsonable_python(value)
    text = value.get_secret_value() if value is not None else ""
    if "://" in text:
        return masked(text)
    return SET if text else NOT_SET


def _is_secret(info: FieldInfo) -> bool:
    return SecretStr in (info.annotation, *get_args(info.annotation))
