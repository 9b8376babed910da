"""Single steps against the whole-sequence network, by torch and by the native kernels."""

from collections.abc import Iterator
from typing import get_args

import pytest
import torch

from rnn.config import CellName, GenerationArchitecture, GenerationConfig
from rnn.determinism import Randomness
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.kernels import library


@pytest.fixture(autouse=True, params=["off", "auto"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Torch alone, then whatever this machine has."""
    library.select(request.param)
    yield
    library.select("auto")


def network_and_model(
    cell: CellName = "lstm", **architecture: object
) -> tuple[GenerationNetwork, Generator]:
    config = GenerationConfig(
        task="text-generation",
        architecture=GenerationArchitecture.model_validate(
            {"cell": cell, "hidden_size": 12, "embedding_size": 12, **architecture}
        ),
    )
    network = GenerationNetwork(config, Randomness(0, torch.device("cpu")))
    noise = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=noise)
    return network, Generator(config, network)


@pytest.mark.parametrize("cell", get_args(CellName))
@pytest.mark.parametrize(
    "architecture",
    [
        {"num_layers": 1},
        {"num_layers": 3},
        {"num_layers": 2, "layer_norm": True},
        {"num_layers": 3, "residual": True},
        {"num_layers": 2, "residual": True, "layer_norm": True, "embedding_size": 7},
    ],
)
def test_steps_equal_one_pass_over_the_whole_sequence(
    cell: CellName, architecture: dict[str, object]
) -> None:
    network, model = network_and_model(cell, **architecture)
    tokens_bt = torch.randint(256, (3, 9), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        whole_btv, whole_end = network(tokens_bt, model.initial_state(3))
    state = model.initial_state(3)
    for timestep in range(9):
        logits_bv, state = model.step(tokens_bt[:, timestep], state)
        torch.testing.assert_close(logits_bv, whole_btv[:, timestep], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state.hidden_lbh, whole_end.hidden_lbh, rtol=1e-4, atol=1e-4)


def test_a_row_of_a_batch_equals_the_row_alone() -> None:
    _, model = network_and_model()
    tokens_b = torch.tensor([5, 77, 200])
    _, state = model.step(tokens_b, model.initial_state(3))
    logits_bv, _ = model.step(tokens_b, state)
    alone_v, _ = model.step(tokens_b[1:2], state.row(1))
    torch.testing.assert_close(logits_bv[1], alone_v[0], rtol=1e-5, atol=1e-5)


def test_prefill_equals_steps_and_can_go_on_from_a_state() -> None:
    _, model = network_and_model()
    tokens = list(range(40, 60))
    state = model.initial_state(1)
    for token in tokens:
        logits_bv, state = model.step(torch.tensor([token]), state)
    whole_v, whole = model.prefill(tokens, model.initial_state(1))
    _, half = model.prefill(tokens[:7], model.initial_state(1))
    parts_v, _ = model.prefill(tokens[7:], half)
    torch.testing.assert_close(whole_v, logits_bv[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts_v, whole_v, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole.hidden_lbh, state.hidden_lbh, rtol=1e-4, atol=1e-4)
