"""The OpenAPI document says what the server does."""

from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient

Headers = dict[str, str]


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_it_needs_a_key(client: TestClient, headers: Headers) -> None:
    assert client.get("/openapi.json").status_code == 401
    assert client.get("/openapi.json", headers=headers).status_code == 200


def test_the_pages_that_load_code_from_elsewhere_are_off(
    client: TestClient, headers: Headers
) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert client.get(path, headers=headers).status_code == 404


def test_every_operation_tells_its_key_and_its_errors(client: TestClient, headers: Headers) -> None:
    document = client.get("/openapi.json", headers=headers).json()
    schemes = document["components"]["securitySchemes"]
    assert [(each["type"], each["scheme"]) for each in schemes.values()] == [("http", "bearer")]
    ids = []
    for name, operation in operations(document):
        ids.append(operation["operationId"])
        assert "application/problem+json" in operation["responses"]["4XX"]["content"]
        assert "422" not in operation["responses"]
        if name not in {"GET /health", "GET /ready"}:
            assert operation["security"], name
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(client: TestClient, headers: Headers) -> None:
    document = client.get("/openapi.json", headers=headers).json()
    for reference in references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_idempotent_operations_say_so(client: TestClient, headers: Headers) -> None:
    document = client.get("/openapi.json", headers=headers).json()
    operation = document["paths"]["/api/v1/jobs"]["post"]
    assert "Idempotency-Key" in [each["name"] for each in operation["parameters"]]
