"""The dashboard of a running service, asked for without a browser: every page answers, and every
file that it loads is there."""

import re
from collections.abc import Iterator, Sequence
from posixpath import join, normpath
from typing import Any

import httpx

from service.dashboard.pages import SECTIONS

HTML = {"Accept": "text/html,*/*;q=0.8"}
TYPES = {".css": "text/css", ".js": "javascript", ".mjs": "javascript", ".svg": "image/svg+xml"}
LOADS = re.compile(r'(?:src|href)="(/static/[^"]+)"')
IMPORTS = re.compile(r'\b(?:from|import)\s*\(?\s*"(\./[^"]+)"')
TOKEN = re.compile(r'name="csrf-token" content="([0-9a-f]{64})"')
NEEDED = {"style.css", "page.js", "charts.js", "vendor/htmx.min.js", "vendor/echarts.mjs"}


def look_at_pages(url: str, key: str) -> tuple[Sequence[str], set[str]]:
    """Signs in, asks for each page and all that it loads, signs out. Returns the pages and the
    static files."""
    with httpx.Client(base_url=url, timeout=60) as client:
        shut = client.get("/", headers=HTML)
        assert (shut.status_code, shut.headers["location"]) == (303, "/sign-in?next=%2F")
        files: set[str] = set()
        load(client, page(client, "/sign-in"), files)
        bearer = {"Authorization": f"Bearer {key}"}
        assert client.post("/api/v1/browser-sessions", headers=bearer).status_code == 204
        pages = list(addresses(client))
        for address in pages:
            load(client, page(client, address), files)
        assert files >= NEEDED, NEEDED - files
        token = TOKEN.search(page(client, "/"))
        assert token is not None
        out = {"X-CSRF-Token": token[1]}
        assert client.delete("/api/v1/browser-sessions/current", headers=out).status_code == 204
        assert client.get("/", headers=HTML).status_code == 303
    return pages, files


def addresses(client: httpx.Client) -> Iterator[str]:
    """Every section, and the pages of the newest record of each kind and of all models."""
    yield from (path for path, _ in SECTIONS)
    yield "/jobs/new"
    for kind in ("datasets", "jobs", "sweeps"):
        for record in newest(client, kind)[:1]:
            yield f"/{kind}/{record['id']}"
    for job in newest(client, "jobs")[:1]:
        yield f"/compare?job={job['id']}"
    for model in newest(client, "models"):
        yield f"/models/{model['name']}"
        yield f"/try?model={model['name']}"  # scripts of its task


def newest(client: httpx.Client, kind: str) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/{kind}?limit=10").raise_for_status().json()
    records: list[dict[str, Any]] = answer["data"]
    return records


def page(client: httpx.Client, address: str) -> str:
    answer = client.get(address, headers=HTML)
    assert answer.status_code == 200, f"{address}: {answer.status_code} {answer.text[:500]}"
    assert answer.headers["content-type"].startswith("text/html"), address
    return answer.text


def load(client: httpx.Client, text: str, files: set[str]) -> None:
    """What a page loads, and what our scripts among it import, unless it is in `files` already."""
    waiting = LOADS.findall(text)
    assert waiting, "the page has no style"
    while waiting:
        address = waiting.pop()
        name = address.removeprefix("/static/").partition("?")[0]
        if name in files:
            continue
        files.add(name)
        answer = client.get(address)
        assert answer.status_code == 200, f"{address}: {answer.status_code}"
        kind = TYPES["." + name.rpartition(".")[2]]
        assert kind in answer.headers["content-type"], f"{address}: {answer.headers}"
        assert answer.content, f"{address} is empty"
        if kind == "javascript" and not name.startswith("vendor/"):
            waiting += [normpath(join("/static", found)) for found in IMPORTS.findall(answer.text)]
