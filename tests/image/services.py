"""Runs docker-compose.yml's services in the built image, as far as a machine without an engine can.

`python -m tests.image.services IMAGE FOLDER -- BUILDAH...`, started by tests/image/check.sh.

Commands, users, environment, volumes and health checks are those of docker-compose.yml and of the
image. Chroot isolation shares the network of the machine, so everything listens on free loopback
ports instead of the published ones.
"""

import re
import sys
import time
from pathlib import Path

import httpx

from rnn.kernels.build import levels
from tests.image.containers import ROOT, USER, Image, Running
from tests.image.pages import look_at_pages
from tests.image.servers import free_port, servers

READY_SECONDS = 120.0


def say(text: str) -> None:
    print(f"        {text}", flush=True)


def follow_a_job(client: httpx.Client) -> None:
    """Uploads, submits, follows and asks for a forecast."""
    begun = time.monotonic()
    table = ROOT / "docs" / "examples" / "demand.csv"
    answer = client.post("/api/v1/datasets", files={"file": (table.name, table.read_bytes())})
    assert answer.status_code == 201, answer.text
    order = {
        "task": "time-series-forecasting",
        "dataset": answer.json()["id"],
        "model": "demand",
        "architecture": {"cell": "gru", "num_layers": 1, "hidden_size": 16},
        "training": {"max_steps": 40, "seed": 1},
    }
    answer = client.post("/api/v1/jobs", json=order)
    assert answer.status_code == 202, answer.text
    job = f"/api/v1/jobs/{answer.json()['id']}"
    events = []
    with client.stream("GET", f"{job}/events", headers={"Accept": "text/event-stream"}) as stream:
        for line in stream.iter_lines():
            if line.startswith("event:"):
                events.append(line.removeprefix("event:").strip())
    finished = client.get(job).json()
    assert finished["state"] == "succeeded", finished
    assert {"state", "metrics"} <= set(events), events
    say(f"upload to succeeded: {time.monotonic() - begun:.1f} s, {len(events)} events")
    begun = time.monotonic()
    series = [float(line.split(",")[2]) for line in table.read_text().splitlines()[1:200]]
    answer = client.post(
        "/api/v1/forecasts", json={"model": "demand", "series": [series], "horizon": 6}
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["forecasts"][0]["mean"]) == 6
    say(f"first forecast: {1000 * (time.monotonic() - begun):.0f} ms")


def check_contents(image: Image) -> None:
    """An ordinary user, the program itself as the first process, the kernels without the tools
    that built them."""
    assert image.config["User"] == f"{USER}:{USER}"
    assert image.config["Entrypoint"] == ["reprise"]
    container = image.container()
    assert image.shell(container, "id -u").strip() == str(USER)
    tools = "for tool in cc gcc g++ make pip pip3; do command -v $tool; done; true"
    assert image.shell(container, tools) == ""
    built = image.shell(container, "find /opt/reprise -name 'libreprise_*' -print -exec ldd {} ';'")
    assert {level for level in levels() if f"libreprise_{level}.so" in built} == set(levels())
    assert "stdc++" not in built, built
    writable = "find / -xdev -type d -writable -not -path '/proc/*' -not -path '/dev/*' | sort"
    say(f"its user may write in: {', '.join(image.shell(container, writable).split())}")


def main() -> None:
    name, place, separator, *buildah = sys.argv[1:]
    assert separator == "--"
    folder = Path(place)
    image = Image(name, buildah, folder)
    check_contents(image)
    tools = image.container()
    make_secrets(image, tools, folder / "secrets")
    with servers(folder) as ports:
        for secret in ("reprise_database_url", "reprise_redis_url"):
            path = folder / "secrets" / secret
            text = path.read_text()
            path.write_text(re.sub(r"@(\w+):\d+/", lambda at: f"@127.0.0.1:{ports[at[1]]}/", text))
        port = free_port()
        image.environment = {"REPRISE_HOST": "127.0.0.1", "REPRISE_PORT": str(port)}
        say(image.run(tools, "migrate").strip())
        key = image.run(tools, "api", ["keys", "create", "first", "--admin"]).strip()
        running: list[Running] = []
        try:
            begun = time.monotonic()
            for service in ("api", "worker", "reaper"):
                running.append(Running(image, service, folder))
            wait_healthy(image, running)
            say(f"healthy after {time.monotonic() - begun:.1f} s")
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {key}"},
                timeout=300,
            ) as client:
                kernels = client.get("/health").json()["kernels"]
                say(f"kernels: {kernels['level']} ({kernels['reason']})")
                assert kernels["level"] != "torch", kernels
                follow_a_job(client)
            pages, files = look_at_pages(f"http://127.0.0.1:{port}", key)
            say(f"dashboard: {len(pages)} pages, {len(files)} files that they load")
            for one in reversed(running):
                say(f"{one.service} stopped {one.stop():.1f} s after SIGTERM")
            assert not image.healthy(running[0].container), "a stopped API passes as healthy"
            for one in running:
                check_written(image.root(one.container))
        except BaseException:
            for one in running:
                print(f"--- {one.service}\n{one.log.read_text()[-3000:]}", file=sys.stderr)
            raise
        finally:
            for one in running:
                if one.alive():
                    one.kill()


def make_secrets(image: Image, container: str, folder: Path) -> None:
    """The first service, twice: the second start keeps what the first one made."""
    image.run(container, "secrets")
    first = {path.name: path.read_text() for path in folder.iterdir()}
    image.run(container, "secrets")
    assert first
    assert {path.name: path.read_text() for path in folder.iterdir()} == first


def wait_healthy(image: Image, running: list[Running]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not image.healthy(running[0].container):
        ended = [one.service for one in running if not one.alive()]
        assert not ended, f"ended: {ended}"
        assert time.monotonic() < deadline, "the API is not healthy"
        time.sleep(0.2)


def check_written(root: Path) -> None:
    """A read-only root file system would not have been in the way."""
    written = [
        path
        for path in root.rglob("*")
        if not path.is_symlink()
        and path.lstat().st_uid == USER
        and path.relative_to(root).parts[0] not in ("tmp", "proc", "dev", "sys")
    ]
    assert written == [root / "var" / "lib" / "reprise"], written


if __name__ == "__main__":
    main()
