"""Which database and which artifacts a command works on without the API."""

from pathlib import Path

import pytest

from service import settings as settings_module
from service.commands import database as database_module
from service.commands.client import CommandError
from service.commands.database import artifact_store, open_database

URL = "postgresql+psycopg://nobody@localhost/reprise"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of secret files; there is no setting anywhere."""
    for name in ("DATABASE_URL", "REDIS_URL", "ARTIFACT_DIR"):
        monkeypatch.delenv(f"REPRISE_{name}", raising=False)
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setattr(settings_module, "SECRET_FILES", folder)
    return folder


@pytest.mark.parametrize("name", ["reprise_database_url", "REPRISE_DATABASE_URL"])
def test_artifacts_come_from_the_settings_of_the_database(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name.islower():
        (secrets / name).write_text(URL)
        (secrets / "reprise_artifact_dir").write_text("/shared")
    else:
        monkeypatch.setenv(name, URL)
        monkeypatch.setenv("REPRISE_ARTIFACT_DIR", "/shared")
    assert artifact_store(tmp_path).root == Path("/shared")


def test_artifacts_beside_a_configured_database_must_be_configured_too(
    secrets: Path, tmp_path: Path
) -> None:
    (secrets / "reprise_database_url").write_text(URL)
    with pytest.raises(CommandError, match="Set REPRISE_ARTIFACT_DIR as the API has it"):
        artifact_store(tmp_path)
    with open_database(tmp_path) as database:
        assert database.engine.url.host == "localhost"


@pytest.mark.usefixtures("secrets")
def test_an_instance_has_its_artifacts_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_embedded_url", lambda data: f"{URL}_{data.name}")
    monkeypatch.setenv("REPRISE_ARTIFACT_DIR", "/of-another-one")
    assert artifact_store(tmp_path).root == tmp_path / "artifacts"
    with open_database(tmp_path) as database:
        assert database.engine.url.database == f"reprise_{tmp_path.name}"


@pytest.mark.usefixtures("secrets")
def test_a_setting_that_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_PORT", "many")
    with pytest.raises(CommandError, match="REPRISE_PORT"):
        artifact_store(tmp_path)
    with pytest.raises(CommandError, match="REPRISE_PORT"), open_database(tmp_path):
        pass
