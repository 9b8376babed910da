"""Secrets in files: what docker-compose.yml's first service writes is what the settings read."""

from pathlib import Path

import pytest

from service import settings as settings_module
from service.compose_secrets import write_secrets
from service.settings import Settings, is_set


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATABASE_URL", "REDIS_URL", "ARTIFACT_DIR"):
        monkeypatch.delenv(f"REPRISE_{name}", raising=False)
    monkeypatch.setattr(settings_module, "SECRET_FILES", tmp_path)
    return tmp_path


def test_settings_read_what_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_set("database_url")
    write_secrets(folder)
    monkeypatch.setenv("REPRISE_ARTIFACT_DIR", "/artifacts")
    settings = Settings()
    password = (folder / "postgres_password").read_text().strip()
    assert len(password) >= 32
    assert settings.database_url.get_secret_value() == (
        f"postgresql+psycopg://reprise:{password}@postgres:5432/reprise"
    )
    password = (folder / "redis_password").read_text().strip()
    assert settings.redis_url.get_secret_value() == f"redis://:{password}@redis:6379/0"
    assert (folder / "redis.conf").read_text() == f"requirepass {password}\n"
    assert is_set("database_url")


def test_the_environment_goes_before_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secrets(folder)
    monkeypatch.setenv("REPRISE_DATABASE_URL", "postgresql+psycopg://elsewhere/x")
    settings = Settings(artifact_dir=folder)
    assert settings.database_url.get_secret_value() == "postgresql+psycopg://elsewhere/x"


def test_a_second_start_keeps_the_passwords(folder: Path) -> None:
    write_secrets(folder)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    write_secrets(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_an_interrupted_start_is_finished_by_the_next(folder: Path) -> None:
    (folder / "postgres_password.new").write_text("half")
    write_secrets(folder)
    assert "half" not in (folder / "postgres_password").read_text()
    assert not list(folder.glob("*.new"))


def test_passwords_differ_and_nobody_can_change_the_files(folder: Path) -> None:
    write_secrets(folder)
    names = ("postgres_password", "redis_password")
    assert len({(folder / name).read_text() for name in names}) == 2
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
