"""Threads of the kernels where many texts are generated together."""

import pytest
from torch import Tensor

from rnn.generation.predictor import Generator
from rnn.kernels.library import threads_here
from service.inference import decode
from service.inference.crowd import CROWD
from service.inference.decode import Decoder
from service.inference.generation import Generation
from service.inference.requests import GenerationRequest


@pytest.mark.parametrize("large", [False, True])
def test_a_crowd_leaves_a_core_to_others_unless_its_network_is_large(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    monkeypatch.setattr(decode, "LARGE", generator.multiplications + (not large))
    threads, step = [], Generator.step

    def counted(model: Generator, *arguments: Tensor) -> object:
        threads.append(threads_here())
        return step(model, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Generator, "step", counted)
    decoder = Decoder(64, 10_000, crowd_threads=1)
    for number in range(CROWD):
        decoder.add(Generation(GenerationRequest("a", 4, seed=number), generator))
    while decoder.busy:
        decoder.read()
        decoder.step()
    assert set(threads) == {threads_here() if large else 1}
