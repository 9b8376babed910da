"""Bytes drawn from shape S, streamed; and what a prompt that was read before saves."""

import random
from collections.abc import Iterator
from typing import Any

import httpx

from benchmarks.data import tinyshakespeare
from benchmarks.serving.bench import Bench, Cell, side_by_side
from benchmarks.serving.candidates import streamed
from benchmarks.serving.rows import Row

TOKENS = 200
STREAMS = (1, 4, 16, 64, 256)
PROMPT, PROMPTS = 32, 2_048
LONG_PROMPT, LONG_PROMPTS = 10_000, 512
ALIKE = 48  # characters that candidates must begin with alike; later ones may be near ties
NEW, REPEATED = "10,000 tokens, read for the first time", "10,000 tokens, asked before"


def streams(bench: Bench) -> list[Row]:
    """Streams at the same time, each begun anew as soon as it is whole."""
    prompts = list(_prompts(bench, PROMPT, PROMPTS))
    cells = [
        Cell(
            f"{count} streams" if count > 1 else "1 stream",
            count,
            [our_body(prompt, TOKENS) for prompt in prompts],
            [{"prompt": prompt, "tokens": TOKENS} for prompt in prompts],
            tokens=TOKENS,
            fresh="prompt",
        )
        for count in STREAMS
    ]
    return side_by_side(bench, "generation", "/generations", cells, same_text)


def prefixes(bench: Bench) -> list[Row]:
    """The first token after a long prompt, one client."""
    cells = []
    for work, count, fresh in ((NEW, LONG_PROMPTS, "prompt"), (REPEATED, 1, "")):
        prompts = list(_prompts(bench, LONG_PROMPT, count, seed=count))
        ours = [our_body(prompt, 1) for prompt in prompts]
        theirs = [{"prompt": prompt, "tokens": 1} for prompt in prompts]
        cells.append(Cell(work, 1, ours, theirs, tokens=1, fresh=fresh))
    return side_by_side(bench, "generation", "/generations", cells, same_text)


def our_body(prompt: str, tokens: int) -> dict[str, Any]:
    return {
        "model": "generation",
        "prompt": prompt,
        "max_new_tokens": tokens,
        "temperature": 0.0,
        "stream": True,
    }


def same_text(ours: list[httpx.Response], theirs: list[httpx.Response]) -> str:
    for index, pair in enumerate(zip(ours, theirs, strict=True)):
        our_text, their_text = (streamed(answer)[:ALIKE] for answer in pair)
        if our_text != their_text:
            return f"another text from prompt {index}: {their_text!r}, not {our_text!r}."
    return ""


def _prompts(bench: Bench, length: int, count: int, seed: int = 0) -> Iterator[str]:
    """Pieces of a play, all different from their first characters on."""
    text = tinyshakespeare(bench.data)
    drawn = random.Random(seed)
    for number in range(count):
        start = drawn.randrange(len(text) - length)
        yield f"{seed}.{number} {text[start:]}"[:length]
