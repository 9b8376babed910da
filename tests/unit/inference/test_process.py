"""The engine's loop round by round, without a thread."""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rnn.checkpoint import manifest_sha256
from rnn.generation.predictor import Generator
from rnn.kernels import library
from rnn.state import HiddenState
from service.inference import decode
from service.inference.channel import Channel
from service.inference.messages import Frames, FromEngine, Generate, Told, to_frame
from service.inference.process import EngineLoop, Limits
from service.inference.requests import (
    GenerationEvent,
    GenerationRequest,
    Network,
    PromptRead,
    TextFinished,
    TokenDrawn,
)

THREADS = 3
LIMITS = Limits(
    threads=THREADS,
    model_cache_bytes=2**24,
    max_decode_slots=32,
    max_prompt_tokens=1_000,
    prefix_cache_bytes=0,
    prefill_tokens=4,
)


class Rounds:
    """An engine's loop, and the API process's end of its connection."""

    def __init__(self, loop: EngineLoop, connection: socket.socket, network: Network) -> None:
        self._loop, self._connection, self._network = loop, connection, network
        self._frames: Frames[FromEngine] = Frames(FromEngine)
        self._asked = 0

    def ask(self, *requests: GenerationRequest) -> None:
        numbers = range(self._asked, self._asked + len(requests))
        self._asked += len(requests)
        asked = [Generate(n, self._network, r) for n, r in zip(numbers, requests, strict=True)]
        self._connection.sendall(to_frame(asked))

    def told(self) -> list[list[tuple[int, GenerationEvent]]]:
        """What one round told, frame by frame."""
        with torch.inference_mode():
            self._loop._round()
        try:
            messages = list(self._frames.push(self._connection.recv(2**20)))
        except BlockingIOError:
            return []
        return [message.events for message in messages if isinstance(message, Told)]


@pytest.fixture
def rounds(generator_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    """On a machine of as many cores as the engine has threads."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(THREADS)))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop = EngineLoop(Channel(theirs), LIMITS, "cpu")
    network = Network(generator_folder, manifest_sha256(generator_folder))
    with ours:
        yield Rounds(loop, ours, network)
    loop.run()  # until it sees that the connection is closed
    library.use_threads(1)


def test_a_first_token_is_told_before_others_take_their_step(rounds: Rounds) -> None:
    rounds.ask(GenerationRequest("abcd", 50))
    while not any(rounds.told()):
        pass
    rounds.ask(GenerationRequest("efgh", 50))
    first, then = rounds.told()
    assert [(number, type(event)) for number, event in first] == [(1, PromptRead), (1, TokenDrawn)]
    assert sorted((number, type(event)) for number, event in then) == [
        (0, TokenDrawn),
        (1, TokenDrawn),
    ]


@pytest.mark.parametrize(("crowd", "threads"), [(2, THREADS - 1), (3, THREADS)])
def test_steps_of_many_texts_leave_a_core_to_those_who_pass_on_what_they_bring(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, crowd: int, threads: int
) -> None:
    seen: list[tuple[str, int | None]] = []
    step, prefill = Generator.step, Generator.prefill_rows

    def stepped(
        model: Generator, tokens_b: Tensor, state: HiddenState
    ) -> tuple[Tensor, HiddenState]:
        seen.append(("step", library.threads_here()))
        return step(model, tokens_b, state)

    def read(
        model: Generator, rows: Sequence[Sequence[int]], state: HiddenState
    ) -> tuple[Tensor, HiddenState]:
        seen.append(("read", library.threads_here()))
        return prefill(model, rows, state)

    library.use_threads(THREADS)
    rounds.ask(GenerationRequest("abcd", 6))
    while not any(rounds.told()):
        pass
    monkeypatch.setattr(decode, "CROWD", crowd)
    monkeypatch.setattr(Generator, "step", stepped)
    monkeypatch.setattr(Generator, "prefill_rows", read)
    rounds.ask(GenerationRequest("efgh", 3))
    rounds.told()
    assert seen == [("read", threads), ("step", threads)]
    ended = 0
    while ended < 2:
        events = [event for frame in rounds.told() for _, event in frame]
        ended += sum(isinstance(event, TextFinished) for event in events)
    seen.clear()
    rounds.ask(GenerationRequest("ijkl", 1))
    rounds.told()
    assert seen == [("read", THREADS)]  # nobody waits for a token: as soon as can be
    assert library.threads_here() == THREADS
