"""What a network is said to take is what it takes."""

import ctypes
import gc
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from rnn.checkpoint import Content, load_model, write
from rnn.config import GenerationConfig, TaskConfig
from rnn.determinism import Randomness
from rnn.generation.network import GenerationNetwork
from service.inference.footprint import memory_bytes


class Mallinfo(ctypes.Structure):
    """`mallinfo2` of glibc's malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def allocated() -> int:
    """Bytes that this process has from malloc."""
    gc.collect()
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = Mallinfo
    found = library.mallinfo2()
    return int(found.uordblks + found.hblkhd)


def model_folder(folder: Path, precision: str, **architecture: object) -> Path:
    config: TaskConfig = TypeAdapter(TaskConfig).validate_python(
        {"task": "text-generation", "architecture": architecture}
    )
    assert isinstance(config, GenerationConfig)
    network = GenerationNetwork(config, Randomness(0, torch.device("cpu")))
    values = {"serving": {"precision": precision}}
    write(folder, Content("model", config, values, network.state_dict()))
    return folder


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru", "indrnn"])
def test_it_is_what_the_allocator_gave(cell: str, precision: str, tmp_path: Path) -> None:
    folder = model_folder(
        tmp_path / "model", precision, cell=cell, hidden_size=512, num_layers=2, embedding_size=256
    )
    load_model(folder)  # what is allocated once for all
    before = allocated()
    model = load_model(folder)
    if cell == "indrnn":  # torch's: tables are made at the first step
        model.step(torch.tensor([0]), model.initial_state(1))  # type: ignore[union-attr]
    taken = allocated() - before
    assert memory_bytes(model) == pytest.approx(taken, rel=0.05)
