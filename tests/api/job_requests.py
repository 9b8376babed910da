"""Data sets and jobs for the tests of `/jobs`, made through HTTP."""

from typing import Any

from starlette.testclient import TestClient

SERIES = "time,value\n" + "".join(
    f"2024-01-{1 + i // 24:02d}T{i % 24:02d}:00:00,{10 + i % 24}\n" for i in range(240)
)
REVIEWS = "text,label\n" + "a warm and lovely film,good\na cold and awful mess,bad\n" * 40
CORPUS = "the quick brown fox jumps over the lazy dog\n" * 100
FORECASTING, CLASSIFICATION, GENERATION = (
    "time-series-forecasting",
    "text-classification",
    "text-generation",
)


def upload(client: TestClient, headers: dict[str, str], name: str, content: str) -> str:
    response = client.post("/api/v1/datasets", files={"file": (name, content)}, headers=headers)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def submit(
    client: TestClient, headers: dict[str, str], dataset: str, **body: Any
) -> dict[str, Any]:
    response = client.post(
        "/api/v1/jobs", json={"task": FORECASTING, "dataset": dataset, **body}, headers=headers
    )
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found
