"""What networks take, in a process of their own: what an allocator gives depends on what it gave.

`python -m tests.unit.inference.footprints FOLDER` prints a JSON object: of each cell and precision
the bytes that a network is said to take, and those that it took.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

import torch
from pydantic import TypeAdapter

from rnn.checkpoint import Content, load_model, write
from rnn.config import GenerationConfig, TaskConfig
from rnn.determinism import Randomness
from rnn.generation.network import GenerationNetwork
from rnn.kernels import library
from service.inference.footprint import memory_bytes

CELLS = ("lstm", "gru", "mingru", "indrnn", "lstm without kernels")
PRECISIONS = ("float32", "bfloat16", "int8")


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


def measured(folder: Path, cell: str, precision: str) -> tuple[int, int]:
    cell, _, without_kernels = cell.partition(" ")
    library.select("off" if without_kernels else "auto")
    model_folder(folder, precision, cell=cell, hidden_size=512, num_layers=2, embedding_size=256)
    load_model(folder)  # what is allocated once for all
    before = allocated()
    model = load_model(folder)
    if without_kernels or cell == "indrnn":  # torch's: tables are made at the first step
        model.step(torch.tensor([0]), model.initial_state(1))  # type: ignore[union-attr]
    taken = allocated() - before
    return memory_bytes(model), taken


if __name__ == "__main__":
    found = {
        f"{cell}, {precision}": measured(Path(sys.argv[1], cell, precision), cell, precision)
        for cell in CELLS
        for precision in PRECISIONS
    }
    print(json.dumps(found))
