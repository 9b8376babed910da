"""On a GPU a seed decides the weights to the bit, as long as the process was started for it."""

import os
import subprocess
import sys

import pytest
import torch

from rnn.determinism import use_reproducible_kernels
from workers.trainer_process import environment

SCRIPT = """
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rnn.data.examples import CorpusExamples
from rnn.events import CheckpointDue, Finished, StepDone
from rnn.train import train
from tests.unit.rnn.trainings import Scripted, generation, weights_hash

line = "to plough and sow, to reap and mow, and be a farmer's boy - so it goes.\\n"
corpus = CorpusExamples(np.frombuffer((line * 20).encode(), dtype=np.uint8))
folder = Path(TemporaryDirectory().name)


def trained(name, control, resume=None):
    config = generation(diagnostics_interval=3)
    for event in train(config, corpus, device="cuda", control=control, resume=resume):
        match event:
            case StepDone():
                control.step = event.step
            case CheckpointDue():
                event.save(folder / "step")
            case Finished():
                print(weights_hash(event, folder / name))


trained("first", Scripted())
trained("second", Scripted())
trained("stopped", Scripted({9}, 9))
trained("resumed", Scripted(), folder / "step")
"""


@pytest.mark.gpu
def test_a_seed_decides_the_weights_and_a_resumption_changes_nothing() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment(os.environ, threads=1, gpu="0", keeps_memory=True),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    hashes = result.stdout.split()
    assert len(hashes) == 3
    assert len(set(hashes)) == 1


@pytest.mark.gpu
def test_a_gpu_takes_the_kernels_that_repeat_themselves() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        use_reproducible_kernels(torch.device("cuda"))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(before)


def test_a_cpu_is_left_as_it_is() -> None:
    use_reproducible_kernels(torch.device("cpu"))
    assert not torch.are_deterministic_algorithms_enabled()
