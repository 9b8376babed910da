"""What of the settings is shown, and that no secret is."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.settings import Settings
from service.settings_shown import GROUPS, Shown, masked, shown

PASSWORD = "correct-horse"


def settings(**changes: object) -> Settings:
    given: dict[str, object] = {
        "database_url": SecretStr(f"postgresql+psycopg://me:{PASSWORD}@db.example:5432/reprise"),
        "redis_url": SecretStr(f"redis://:{PASSWORD}@cache.example:6379/0"),
        "artifact_dir": Path("/srv/reprise"),
    }
    return Settings(**{**given, **changes})  # type: ignore[arg-type]


def one(name: str, **changes: object) -> Shown:
    (found,) = (row for row in shown(settings(**changes)) if row.name == name)
    return found


def test_every_setting_is_shown_and_described() -> None:
    rows = shown(settings())
    assert [row.name for row in rows] == [
        f"REPRISE_{name.upper()}" for name in Settings.model_fields
    ]
    assert [row.name for row in rows if not row.description] == []


def test_the_groups_are_those_of_the_module() -> None:
    source = Path(Settings.__module__.replace(".", "/") + ".py")
    text = (Path(__file__).parents[3] / source).read_text("utf-8")
    found = re.findall(r"^    # ([A-Z][\w ]+)\n    (\w+):", text, re.MULTILINE)
    assert {field: title for title, field in found} == GROUPS


def test_what_differs_from_its_default_is_changed() -> None:
    port = one("REPRISE_PORT", port=9000)
    assert (port.group, port.value, port.default, port.changed) == ("HTTP", 9000, 8000, True)
    assert not one("REPRISE_PORT", port=8000).changed
    hosts = one("REPRISE_ALLOWED_HOSTS", allowed_hosts="a.example,b.example")
    assert (hosts.value, hosts.changed) == (["a.example", "b.example"], True)
    assert one("REPRISE_MAX_RUNNING_JOBS").value is None


def test_what_has_no_default_is_needed_and_not_changed() -> None:
    folder = one("REPRISE_ARTIFACT_DIR")
    assert (folder.value, folder.default) == ("/srv/reprise", None)
    assert (folder.required, folder.changed) == (True, False)


def test_passwords_are_not_shown() -> None:
    rows = shown(settings())
    assert PASSWORD not in repr(rows)
    urls = {row.name: row.value for row in rows if row.secret}
    assert urls == {
        "REPRISE_DATABASE_URL": "postgresql+psycopg://me:***@db.example:5432/reprise",
        "REPRISE_REDIS_URL": "redis://:***@cache.example:6379/0",
    }


@pytest.mark.parametrize(("text", "said"), [("", "not set"), (PASSWORD, "set")])
def test_of_a_secret_that_is_no_url_only_whether_it_is_set(text: str, said: str) -> None:
    assert one("REPRISE_REDIS_URL", redis_url=SecretStr(text)).value == said


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=0"),
        (f"unix://me@/r.sock?db=0&password={PASSWORD}", "unix://me@/r.sock?db=0&password=***"),
        (
            f"postgresql://u@/d?host=/run&Password={PASSWORD}",
            "postgresql://u@/d?host=/run&Password=***",
        ),
        (f"redis://u:{PASSWORD}@[::1]:6379/0", "redis://u:***@[::1]:6379/0"),
        (f"redis://u:{PASSWORD}@x:y@host/0", "redis://u:***@host/0"),
    ],
)
def test_urls_are_shown_without_what_they_hide(url: str, seen: str) -> None:
    assert masked(url) == seen


@pytest.mark.parametrize("sign", "/?#[:")
def test_a_password_that_was_not_escaped_hides_the_whole_url(sign: str) -> None:
    seen = masked(f"redis://:correct{sign}horse@host:6379/0")
    assert "correct" not in seen
    assert "horse" not in seen


@pytest.mark.parametrize(
    "text", [f"unix:///redis.sock?db=0;password={PASSWORD}", f"no url://{PASSWORD}"]
)
def test_what_is_no_url_as_we_know_it_is_not_shown(text: str) -> None:
    assert masked(text) == "set"


def test_settings_with_urls_are_secrets() -> None:
    """Whoever adds one cannot forget that it may hold a password."""
    rows = shown(settings())
    assert all(row.secret for row in rows if row.name.endswith(("_URL", "_SECRET", "_PASSWORD")))
