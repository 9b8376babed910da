"""Rows of the bad-input table, sent one after the other; a good request must answer the same
after each."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.testclient import TestClient

from tests.api.conftest import problem


@dataclass(frozen=True)
class Row:
    """An input, and the answer that it gets. `change` is laid over the good body."""

    id: str
    status: int
    problem: str | None = None
    change: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    method: str = "POST"
    query: str = ""
    location: str | None = None  # that the problem must name


def body_of(row: Row, good: Mapping[str, Any]) -> bytes:
    if row.raw is not None:
        return row.raw
    merged = {**good, **row.change}
    return json.dumps({k: v for k, v in merged.items() if v is not ...}).encode()


def check_rows(
    client: TestClient,
    path: str,
    headers: Mapping[str, str],
    good: Mapping[str, Any],
    rows: Sequence[Row],
    answer_of: Callable[[Any], Any] = lambda body: body,
) -> None:
    """Sends every row; fails with a list of those that were answered otherwise."""

    def ask_well() -> Any:
        response = client.post(path, json=dict(good), headers=dict(headers))
        assert response.status_code == 200, response.text
        return answer_of(response.json())

    expected, wrong = ask_well(), []
    for row in rows:
        merged = {**headers, "Content-Type": "application/json", **row.headers}
        sent = {name: value for name, value in merged.items() if value is not None}
        content = None if row.method in ("GET", "HEAD", "TRACE") else body_of(row, good)
        response = client.request(row.method, path + row.query, content=content, headers=sent)
        found = problem(response) if response.status_code >= 400 and response.content else None
        if (response.status_code, found) != (row.status, row.problem):
            wrong.append(f"{row.id}: {response.status_code} {found}: {response.text[:300]}")
        elif row.location is not None:
            places = [fault["location"] for fault in response.json()["errors"]]
            if row.location not in places:
                wrong.append(f"{row.id}: names {places}")
        if ask_well() != expected:
            wrong.append(f"{row.id}: the good request was answered otherwise afterwards")
    assert not wrong, "\n".join(wrong)
