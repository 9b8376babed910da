"""One instance for a folder, and a clear word when the folder or the port cannot be had."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.embedded.children import StartError
from service.embedded.folders import runtime_folder, secret
from service.embedded.instance import Instance, running_instance
from tests.disks import place


@pytest.fixture(autouse=True)
def runtime_base(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sockets' folders of these tests go away with them."""
    with tempfile.TemporaryDirectory(dir=place()) as base:
        monkeypatch.setenv("XDG_RUNTIME_DIR", base)
        yield


def test_a_second_instance_is_told_about_the_first(tmp_path: Path) -> None:
    first = Instance(tmp_path / "data", "127.0.0.1", 0)
    with pytest.raises(StartError, match=rf"process {os.getpid()}, {first.address}"):
        Instance(tmp_path / "data", "127.0.0.1", 0)
    assert running_instance(tmp_path / "data") == {
        "pid": os.getpid(),
        "address": first.address,
        "runtime": str(first.runtime),
    }
    first.close()
    assert running_instance(tmp_path / "data") is None
    Instance(tmp_path / "data", "127.0.0.1", 0).close()


def test_a_taken_port_is_named_and_the_folder_stays_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"Port {port} of 127.0.0.1 is taken"):
            Instance(tmp_path, "127.0.0.1", port)
    Instance(tmp_path, "127.0.0.1", 0).close()


def test_a_host_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be used"):
        Instance(tmp_path, "192.0.2.1", 0)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(StartError, match="cannot be written to"):
        Instance(tmp_path / "data", "127.0.0.1", 0)


def test_ipv6_addresses_are_written_as_in_urls(tmp_path: Path) -> None:
    instance = Instance(tmp_path, "::1", 0)
    assert instance.address == f"http://[::1]:{instance.port}"
    instance.close()


def test_the_data_folder_is_private(tmp_path: Path) -> None:
    Instance(tmp_path / "data", "127.0.0.1", 0).close()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_sockets_lie_in_a_short_private_folder(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a rather long name of a folder"] * 10)
    runtime = runtime_folder(deep)
    assert len(os.fsencode(runtime / ".s.PGSQL.5432.lock")) < 107
    assert runtime.stat().st_mode & 0o777 == 0o700
    assert runtime == runtime_folder(deep)
    assert runtime != runtime_folder(tmp_path)


@pytest.mark.parametrize("variable", [None, "/does/not/exist", "/tmp/" + "x" * 100])
def test_a_session_folder_that_is_no_good_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable is None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", variable)
    runtime = runtime_folder(tmp_path)
    assert runtime.parent == Path(f"/tmp/reprise-{os.geteuid()}")
    runtime.rmdir()


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "one"
    first = secret(path)
    assert len(first) >= 40
    assert secret(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
