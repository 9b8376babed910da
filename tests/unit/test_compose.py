"""docker-compose.yml and the Dockerfile fit the code: commands, settings, secrets, reach."""

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from service.cli import app
from service.compose_secrets import write_secrets
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "reprise"]
ONE_SHOT = {"migrate", "secrets"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def commands() -> set[str]:
    root = typer.main.get_command(app)
    return set(getattr(root, "commands"))  # noqa: B009 - typer's type does not say it is a group


@pytest.mark.parametrize("name", [name for name in OURS if "entrypoint" not in SERVICES[name]])
def test_a_service_runs_a_command_of_the_program(name: str) -> None:
    assert SERVICES[name]["command"][0] in commands()


def test_the_image_runs_a_command_of_the_program() -> None:
    assert re.search(r'^ENTRYPOINT \["reprise"\]$', DOCKERFILE, re.M)
    default = re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.M)
    assert default is not None
    assert set(json.loads(default[1])) <= commands()
    assert "reprise" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_the_secrets_are_made_by_a_module_of_ours() -> None:
    python, flag, module, folder = SERVICES["secrets"]["entrypoint"]
    assert (python, flag, folder) == ("python", "-m", "/run/secrets")
    assert find_spec(module) is not None
    assert sys.modules[write_secrets.__module__].__name__ == module


def test_every_variable_is_a_setting() -> None:
    texts = DOCKERFILE, (ROOT / "docker-compose.yml").read_text(), yaml.safe_dump(GPU)
    named = {name for text in texts for name in re.findall(r"\bREPRISE_([A-Z_]+)", text)}
    assert named
    assert named <= {name.upper() for name in Settings.model_fields}


def test_the_values_given_are_valid(tmp_path: Path) -> None:
    given: dict[str, str] = {}
    for service in (*SERVICES.values(), *GPU["services"].values()):
        for name, value in service.get("environment", {}).items():
            if name.startswith("REPRISE_"):
                default = re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value))
                given[name.removeprefix("REPRISE_").lower()] = default
    settings = Settings(**{"database_url": "x", "redis_url": "x", "artifact_dir": tmp_path} | given)
    assert "127.0.0.1" in settings.allowed_hosts, "the image's health check asks for it"


def test_no_secret_is_written_in_a_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY|URL", variable):
                assert str(value).startswith("/run/secrets/"), f"{name}: {variable}"
    for path in ("docker-compose.yml", "docker-compose.gpu.yml", "Dockerfile"):
        assert not re.search(r"\w+://[^/\s:]*:[^/\s@]+@", (ROOT / path).read_text())


def test_every_secret_that_is_read_is_written(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    read = set(re.findall(r"/run/secrets/([\w.]+)", (ROOT / "docker-compose.yml").read_text()))
    assert read
    assert read <= written
    for name, service in SERVICES.items():
        mode = "" if name == "secrets" else ":ro"
        assert f"secrets:/run/secrets{mode}" in service["volumes"], name


def test_the_addresses_in_the_secrets_are_services(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    for name in ("reprise_database_url", "reprise_redis_url"):
        host = re.search(r"@([a-z]+):", (tmp_path / name).read_text())
        assert host is not None
        assert host[1] in SERVICES


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_has_no_more_power_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["read_only"] is True
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")


def test_only_the_api_is_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
    outward = [name for name, network in COMPOSE["networks"].items() if not network.get("internal")]
    assert [n for n, s in SERVICES.items() if set(s.get("networks", ())) & set(outward)] == ["api"]


def test_what_is_waited_for_can_happen() -> None:
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_completed_successfully":
                assert other in ONE_SHOT, name
            else:
                assert wait["condition"] == "service_healthy"
                assert "test" in SERVICES[other]["healthcheck"], name


def test_volumes_and_networks_are_declared() -> None:
    for service in SERVICES.values():
        assert set(service.get("networks", ())) <= set(COMPOSE["networks"])
        assert {volume.split(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])


def test_workers_have_time_to_save_a_checkpoint() -> None:
    grace = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings.model_fields["drain_seconds"].default + 10


def test_the_gpu_file_changes_services_that_there_are() -> None:
    assert set(GPU["services"]) <= set(SERVICES)
    for name in ("api", "worker"):
        (device,) = GPU["services"][name]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], "gpu" in device["capabilities"]) == ("nvidia", True)
    arguments = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M))
    assert set(GPU["services"]["api"]["build"]["args"]) <= arguments


def test_the_image_holds_what_the_package_is_made_of() -> None:
    """A folder that the Dockerfile does not copy would be missing at run time only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {
        pattern.rstrip("*")
        for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    copied = set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.M))
    assert copied == packages
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M))
    files = {"pyproject.toml", "setup.py", "constraints.txt", "LICENSE"}
    assert allowed == packages | files | {project["project"]["readme"]}
