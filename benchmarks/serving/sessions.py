"""One more token of a text: as a step of a session, and with the whole text sent again."""

import random
from typing import Any

from benchmarks.data import tinyshakespeare
from benchmarks.serving.bench import Bench, Table, begun_anew
from benchmarks.serving.candidates import Endpoint, ours
from benchmarks.serving.load import Result
from benchmarks.serving.rows import Row

LENGTHS = (10, 100, 1_000, 10_000, 100_000)
STEP, AGAIN = "a step of a session", "the whole text sent again"
STEPS = 20_000  # more than are sent in the time
RESENT = 64
TASK_MODEL = "generation"


def sessions(bench: Bench) -> list[Row]:
    """One client; each length of history by both ways, in turns."""
    table = Table()
    for turn in range(bench.repeats):
        for length in LENGTHS if turn % 2 == 0 else reversed(LENGTHS):
            text = history(bench, length, turn)
            for name, measure in ((STEP, _steps), (AGAIN, _resent)):
                result = measure(bench, text)
                if result.latency is None:
                    table.miss([work_of(length)], name, f"no answer: {result.errors}")
                    continue
                figures = {"p50 ms": result.latency.p50, "p99 ms": result.latency.p99}
                table.add(work_of(length), name, figures)
    return table.rows()


def work_of(length: int) -> str:
    return f"after {length:,} tokens"


def history(bench: Bench, length: int, seed: int) -> str:
    """Text of so many bytes, from some place of a play."""
    text = tinyshakespeare(bench.data)
    start = random.Random(seed).randrange(len(text) - length)
    return begun_anew(text[start : start + length])


def begun(endpoint: Endpoint, text: str) -> str:
    """The id of a new session that has read a text."""
    answer = endpoint.ask({"model": TASK_MODEL, "text": text})
    answer.raise_for_status()
    return str(answer.json()["id"])


def step(seq: int, text: str) -> dict[str, Any]:
    return {"seq": seq, "text": text}


def _steps(bench: Bench, text: str) -> Result:
    session = begun(ours(bench.service, "/sessions"), text)
    letters = [step(seq, text[seq % len(text)]) for seq in range(1, STEPS + 1)]
    return bench.fire(ours(bench.service, f"/sessions/{session}/steps"), letters, 1, least=3)


def _resent(bench: Bench, text: str) -> Result:
    bodies = [
        {
            "model": TASK_MODEL,
            "prompt": begun_anew(text),
            "max_new_tokens": 1,
            "temperature": 0.0,
        }
        for _ in range(RESENT)
    ]
    return bench.fire(ours(bench.service, "/generations"), bodies, 1, least=3)
