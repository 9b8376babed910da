"""GET /api/v1/sessions/{id}/state: what the layers hold is what one pass leaves in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from rnn.checkpoint import load_model
from rnn.generation.predictor import Generator
from service.auth.subjects import Scope
from tests.api.conftest import MakeKey, bearer, problem
from tests.api.test_sessions import PATH, SERIES, TEXT, Headers, create, step
from tests.serving import GENERATION

pytestmark = pytest.mark.usefixtures("models")


def state(client: TestClient, headers: Headers, path: str) -> dict[str, Any]:
    response = client.get(f"{path}/state", headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize(
    ("model", "field", "whole", "length"),
    [("demand", "values", SERIES, 60), ("reviews", "text", TEXT, 14), ("verses", "text", TEXT, 61)],
)
def test_the_state_of_many_steps_is_that_of_one(
    client: TestClient, headers: Headers, model: str, field: str, whole: list[float], length: int
) -> None:
    many, one = create(client, headers, model), create(client, headers, model)
    begun = state(client, headers, many)
    assert (begun["seq"], begun["length"]) == (0, 0)
    assert not np.any(begun["layers"])
    for at in range(0, len(whole), 7):
        step(client, headers, many, **{field: whole[at : at + 7]})
    step(client, headers, one, **{field: whole})
    found = state(client, headers, many)
    assert found["layers"] == state(client, headers, one)["layers"]
    assert np.any(found["layers"])
    assert found["length"] == length
    assert found["seq"] == -(-len(whole) // 7)
    assert found["model"] == {"name": model, "version": 1}


def test_it_is_that_of_the_network(
    client: TestClient, headers: Headers, trained: Mapping[str, Path]
) -> None:
    path = create(client, headers)
    step(client, headers, path, text=TEXT)
    model = load_model(trained[GENERATION])
    assert isinstance(model, Generator)
    with torch.inference_mode():
        _, expected = model.prefill(model.encode(TEXT), model.initial_state(1))
    np.testing.assert_array_equal(
        np.array(state(client, headers, path)["layers"], dtype=np.float32),
        expected.hidden_lbh[:, 0].numpy(),
    )


def test_to_look_changes_nothing(client: TestClient, headers: Headers) -> None:
    path = create(client, headers, seed=3)
    step(client, headers, path, text="the qu")
    before = client.get(path, headers=headers).json()
    assert state(client, headers, path) == state(client, headers, path)
    assert client.get(path, headers=headers).json() == before


def test_who_may_look(client: TestClient, headers: Headers, make_key: MakeKey) -> None:
    path = create(client, headers)
    other = client.get(f"{path}/state", headers=bearer(make_key(workspace_name="other")))
    assert problem(other) == "not-found"
    powerless = client.get(f"{path}/state", headers=bearer(make_key([Scope.MODELS_READ])))
    assert problem(powerless) == "forbidden"
    client.delete(path, headers=headers)
    assert problem(client.get(f"{path}/state", headers=headers)) == "gone"
    assert problem(client.get(f"{PATH}/nothing/state", headers=headers)) == "not-found"
