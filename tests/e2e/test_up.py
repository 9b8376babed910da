"""`reprise up`: it starts everywhere, stops whole, keeps the data, and says why it cannot start."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.disks import place
from tests.e2e.running import ROOT, UP, Running, left_over, run, start

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="reprise up ", dir=place()))
    yield folder
    shutil.rmtree(folder)


def test_keeps_its_data_over_every_kind_of_end(folder: Path) -> None:
    """First start, SIGTERM, second start, kill -9, third start; in a deep folder with spaces."""
    data = folder.joinpath(*["a folder with spaces"] * 8, ".reprise")
    assert len(os.fsencode(data)) > 107

    first = Running(data)
    try:
        key = first.key
        assert key is not None
        assert httpx.get(f"{first.url}/ready").json()["status"] == "ready"
        upload = httpx.post(
            f"{first.url}/api/v1/datasets",
            headers={"Authorization": f"Bearer {key}"},
            files={"file": ("a.txt", b"Some words to learn from.\n" * 50)},
            timeout=30,
        )
        assert upload.status_code == 201, upload.text
        dataset = upload.json()["id"]
        first.find("workers.app"), first.find("workers.reaper")
        processes = first.descendants()
        assert first.stop(signal.SIGTERM) == 0
        assert left_over(processes, 0) == []
    finally:
        first.close()

    second = Running(data)
    try:
        assert second.key is None
        assert second.get(f"/api/v1/datasets/{dataset}", key).status_code == 200
        second.find("workers.app"), second.find("workers.reaper")
        processes = second.descendants()
        second.stop(signal.SIGKILL)
        assert left_over(processes, 15) == []
    finally:
        second.close()

    third = Running(data)
    try:
        assert third.key is None
        assert third.get(f"/api/v1/datasets/{dataset}", key).status_code == 200
        assert third.stop(signal.SIGINT) == 0
    finally:
        third.close()


def test_starts_as_an_ordinary_user(folder: Path) -> None:
    """As somebody who is not root, also where the tests run as root."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        # May read everything, for a clone in a closed folder, and write what is its own.
        capabilities = [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
        identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        # no_setuid_fixup: also for access(2)
        prefix = ["setpriv", "--securebits=+no_setuid_fixup", *identity, *capabilities, "--"]
    environment = {"HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    running = Running(folder / ".reprise", prefix=prefix, environment=environment)
    try:
        owners = {process.uids().effective for process in running.descendants()}
        assert owners == {NOBODY if prefix else os.geteuid()}
        assert running.key is not None
        assert running.get("/api/v1/jobs", running.key).status_code == 200
        assert running.stop() == 0
    finally:
        running.close()


def test_ends_with_the_process_that_started_it(folder: Path) -> None:
    """kill -9 of `make` must not leave a service behind that nobody sees."""
    arguments = " ".join(f"'{part}'" for part in (*UP, "--port", "0"))
    shell = start(
        ["sh", "-c", f"{arguments} --stop-with-parent $$ --data '{folder}/.reprise'; true"]
    )
    try:
        assert shell.stdout is not None
        for line in shell.stdout:
            if "is ready at" in line:
                break
        processes = psutil.Process(shell.pid).children(recursive=True)
        assert len(processes) >= 4
        shell.kill()
        assert left_over(processes, 30) == []
    finally:
        shell.kill()
        shell.wait()
        assert shell.stdout is not None
        shell.stdout.close()


@pytest.mark.parametrize(
    "part", ["service.serve", "workers.reaper", "redis-server", "bin/postgres"]
)
def test_a_part_that_dies_is_started_again(instance: Running, part: str) -> None:
    assert instance.key is not None
    died = instance.find(part)
    died.kill()
    died.wait(10)
    again = instance.find(part)
    assert again.pid != died.pid
    deadline = time.monotonic() + 30
    while True:
        try:
            state = httpx.get(f"{instance.url}/ready", timeout=10).json()
            if {state["database"], state["redis"], state["engine"]} == {"up"}:
                break
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, state
        time.sleep(0.2)
    assert instance.get("/api/v1/jobs", instance.key).status_code == 200
    assert "started again" in (instance.data / "logs" / "reprise.log").read_text()


def test_a_second_instance_on_the_same_folder_is_refused(instance: Running) -> None:
    code, output = run([*UP, "--data", str(instance.data), "--port", "0"])
    assert code == 2
    assert "runs already on the folder" in output
    assert instance.url in output
    assert len(output.strip().splitlines()) == 1


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = run([*UP, "--data", str(folder / ".reprise"), "--port", str(port)])
    assert code == 2
    assert f"Port {port} of 127.0.0.1 is taken" in output
    assert len(output.strip().splitlines()) == 1


def test_servers_of_others_are_refused(folder: Path) -> None:
    command = [*UP, "--data", str(folder / ".reprise"), "--port", "0"]
    code, output = run(command, {"REPRISE_REDIS_URL": "redis://elsewhere:6379/0"})
    assert code == 2
    assert "REPRISE_REDIS_URL is set" in output
    assert not (folder / ".reprise").exists()


def test_a_read_only_folder_is_named(folder: Path) -> None:
    if os.geteuid() == 0:
        data = Path("/proc/reprise")  # root may write wherever writing is possible
    else:
        folder.chmod(0o500)
        data = folder / ".reprise"
    code, output = run([*UP, "--data", str(data), "--port", "0"])
    folder.chmod(0o700)
    assert code == 2
    assert f"{data} cannot be written to" in output
    assert len(output.strip().splitlines()) == 1


def test_a_half_made_database_is_refused_and_left_alone(folder: Path) -> None:
    half = folder / ".reprise" / "postgres"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    if os.geteuid() == 0:
        os.chown(half, NOBODY, NOBODY)
    code, output = run([*UP, "--data", str(folder / ".reprise"), "--port", "0"])
    assert code == 2
    assert "is incomplete" in output
    assert len(output.strip().splitlines()) == 1
    assert [path.name for path in half.iterdir()] == ["PG_VERSION"]


def test_a_start_that_was_cut_off_begins_anew(folder: Path) -> None:
    """Killed while PostgreSQL's files are being made: the next start makes them again."""
    data = folder / ".reprise"
    process = start([*UP, "--data", str(data), "--port", "0"])
    while not (data / "postgres.new" / "PG_VERSION").exists():
        assert process.poll() is None
        time.sleep(0.005)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert left_over(children, 10) == []
    assert not (data / "postgres").exists()
    running = Running(data)
    try:
        assert running.key is not None
    finally:
        assert running.stop() == 0


def test_a_killed_api_process_is_started_again(folder: Path) -> None:
    """sentiment-40: what it was asked is cut off, and the next request is answered."""
    running = Running(folder / ".reprise")
    assert running.key is not None
    try:
        with (
            httpx.Client(
                base_url=running.url,
                headers={"Authorization": f"Bearer {running.key}"},
                timeout=60,
            ) as client,
            ThreadPoolExecutor(1) as pool,
        ):

            def ask(texts: list[str]) -> httpx.Response:
                body = {"model": "starter-sentiment", "texts": texts}
                return client.post("/api/v1/sentiment", json=body)

            cut_off = pool.submit(ask, ["a good film " * 30] * 10_000)
            while "\nreprise_predictions_in_flight 1" not in client.get("/metrics").text:
                assert not cut_off.done()
            running.find("service.serve").kill()
            with pytest.raises(httpx.TransportError):
                cut_off.result()
            assert ask(["a good film"]).status_code == 200
    finally:
        assert running.stop() == 0


def test_a_setting_that_is_no_good_is_named(folder: Path) -> None:
    code, output = run(
        [*UP, "--data", str(folder / ".reprise"), "--port", "0"],
        {"REPRISE_LEASE_SECONDS": "soon"},
    )
    assert code == 2
    assert "REPRISE_LEASE_SECONDS" in output


def test_make_run_is_reprise_up() -> None:
    """The recipe, without running it: the set-up may need the network."""
    done = subprocess.run(
        [str(shutil.which("make")), "--dry-run", "--always-make", "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "service.cli up --stop-with-parent" in done.stdout
    assert "--constraint constraints.txt" in done.stdout
