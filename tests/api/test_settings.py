import platform
from importlib.metadata import version

from starlette.testclient import TestClient

from service.auth.subjects import Scope
from service.settings import Settings
from tests.api.conftest import MakeApp, MakeKey, bearer, problem


def test_settings_are_listed_without_secrets(
    make_app: MakeApp, settings: Settings, headers: dict[str, str]
) -> None:
    with TestClient(make_app(max_texts=7), base_url="http://localhost") as client:
        answer = client.get("/api/v1/settings", headers=headers)
    found = {setting["name"]: setting for setting in answer.json()["data"]}
    assert found["REPRISE_MAX_TEXTS"] == {
        "name": "REPRISE_MAX_TEXTS",
        "group": "Inference",
        "description": "In one sentiment request.",
        "value": 7,
        "default": 10_000,
        "required": False,
        "changed": True,
        "secret": False,
    }
    assert [name for name, setting in found.items() if setting["changed"]] == ["REPRISE_MAX_TEXTS"]
    assert isinstance(found["REPRISE_KEY_CACHE_SECONDS"]["value"], float)
    url = settings.database_url.get_secret_value()
    password = url.partition("://")[2].partition("@")[0].partition(":")[2]
    assert password
    assert password not in answer.text
    assert ":***@" in found["REPRISE_DATABASE_URL"]["value"]


def test_versions_are_those_of_this_process(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/v1/settings", headers=headers).json()["versions"] == {
        "reprise": version("reprise"),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def test_the_scope_is_needed(client: TestClient, make_key: MakeKey) -> None:
    reader = make_key([Scope.JOBS_READ, Scope.MODELS_READ, Scope.DATASETS_READ])
    answer = client.get("/api/v1/settings", headers=bearer(reader))
    assert (answer.status_code, problem(answer)) == (403, "forbidden")
