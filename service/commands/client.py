"""The HTTP API as the command line calls it: plain values, and readable sentences on failure."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
PREFIX = "/api/v1"
# Reading waits long: an upload is checked, and a forecast computed, before the first byte comes.
TIMEOUT = httpx.Timeout(connect=10, read=600, write=60, pool=10)
EVENT_STREAM = "text/event-stream"


class CommandError(Exception):
    """A command failed; the message is for the person who typed it."""


class ConnectionLostError(CommandError):
    """The server could not be reached, or went away in the middle of an answer."""


@dataclass(frozen=True)
class ServerEvent:
    """One event of a stream: `data` is what its JSON says, None for the closing mark."""

    name: str
    data: Any
    id: str | None


class Client:
    """Calls of one command, with the key and the address from the environment."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._send("GET", path, params=params)

    def post(self, path: str, body: Any) -> Any:
        return self._send("POST", path, json=body)

    def upload(self, path: str, *, fields: Mapping[str, str], file: tuple[str, Any]) -> Any:
        return self._send("POST", path, data=fields, files={"file": file})

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        silence_seconds: float | None = None,
    ) -> Iterator[Iterator[ServerEvent]]:
        """Server-sent events as they come; a silence longer than `silence_seconds` is an error."""
        timeout = httpx.Timeout(TIMEOUT.connect, read=silence_seconds or TIMEOUT.read)
        asked = {"Accept": EVENT_STREAM} | dict(headers or {})
        try:
            with self._http.stream(
                method, PREFIX + path, json=body, headers=asked, timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                    _raise_problem(response)
                yield read_events(response.iter_bytes())
        except httpx.HTTPError as error:
            raise self._lost(error) from error

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._http.request(method, PREFIX + path, **arguments)
        except httpx.HTTPError as error:
            raise self._lost(error) from error
        if not response.is_success:
            _raise_problem(response)
        return response.json() if response.content else None

    def _lost(self, error: httpx.HTTPError) -> ConnectionLostError:
        if isinstance(error, httpx.ConnectError):
            return ConnectionLostError(
                f"Nothing answers at {self._http.base_url}: start it with `reprise up`, or set"
                f" REPRISE_URL ({error})."
            )
        return ConnectionLostError(
            f"The connection to {self._http.base_url} failed: {error or type(error).__name__}."
        )


@contextmanager
def connect() -> Iterator[Client]:
    """A client for REPRISE_URL with REPRISE_API_KEY."""
    key = os.environ.get("REPRISE_API_KEY", "").strip()
    if not key:
        raise CommandError(
            "Set REPRISE_API_KEY to an API key: `reprise up` printed one at its first start, and"
            " `reprise keys create` makes another."
        )
    if not key.isascii():
        raise CommandError("REPRISE_API_KEY is not an API key.")
    url = os.environ.get("REPRISE_URL", "").strip() or DEFAULT_URL
    with httpx.Client(
        base_url=_checked(url), headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT
    ) as http:
        yield Client(http)


def _checked(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise CommandError(f"REPRISE_URL is not usable: {error}.") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise CommandError(f"REPRISE_URL is {url!r}, which is not an address like {DEFAULT_URL}.")
    return address


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Parses server-sent events.

    Lines end at line feeds alone: a text may hold the other characters that Unicode calls line
    ends.
    """
    name, data, last_id = "message", list[str](), None
    for line in _lines(chunks):
        if not line:
            if data:
                text = "\n".join(data)
                yield ServerEvent(name, None if text == "[DONE]" else json.loads(text), last_id)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")


def _raise_problem(response: httpx.Response) -> None:
    """The sentence of a problem document, with each wrong place below it."""
    try:
        problem = response.json()
        lines = [f"{problem['title']}: {problem['detail']}"]
        lines += [f"  {fault['location']}: {fault['message']}" for fault in problem["errors"]]
    except (ValueError, KeyError, TypeError):
        lines = [f"The server answered {response.status_code} {response.reason_phrase}."]
    raise CommandError("\n".join(lines))
