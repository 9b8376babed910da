"""Small untrained networks as model folders: their answers mean nothing, but are always equal."""

from pathlib import Path

import pytest
import torch

from rnn.checkpoint import Content, load_model, write
from rnn.config import GenerationArchitecture, GenerationConfig
from rnn.determinism import Randomness
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator

torch.set_num_threads(1)


def write_generator(folder: Path, seed: int = 0, cell: str = "lstm") -> Path:
    architecture = GenerationArchitecture(
        cell=cell,
        num_layers=2,
        hidden_size=24,
        embedding_size=16,  # type: ignore[arg-type]
    )
    config = GenerationConfig(task="text-generation", architecture=architecture)
    network = GenerationNetwork(config, Randomness(seed, torch.device("cpu")))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)  # far from uniform, so that a wrong state is seen in the text
    write(folder, Content("model", config, {}, network.state_dict()))
    return folder


@pytest.fixture(scope="session")
def generator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("models") / "generator")


@pytest.fixture(scope="session")
def generator(generator_folder: Path) -> Generator:
    model = load_model(generator_folder)
    assert isinstance(model, Generator)
    return model
