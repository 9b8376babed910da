"""Tokens of both shapes, streamed; and what a prompt that was read before saves."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from benchmarks.data import penn_treebank, tinyshakespeare
from benchmarks.serving.bench import Bench, Cell, Same, side_by_side
from benchmarks.serving.candidates import streamed
from benchmarks.serving.rows import Row

TOKENS = 200
STREAMS = (1, 4, 16, 64, 256)
PROMPT, PROMPTS = 32, 2_048
TOKENS_OF_WORDS, STREAMS_OF_WORDS, PROMPT_WORDS = 50, (1, 16, 64, 256), 8
LONG_PROMPT, LONG_PROMPTS = 10_000, 512
ALIKE = 48  # characters that candidates must begin with alike; later ones may be near ties
NEW, REPEATED = "10,000 tokens, read for the first time", "10,000 tokens, asked before"


def streams(bench: Bench) -> list[Row]:
    """Of shape S: streams at the same time, each begun anew as soon as it is whole."""
    prompts = list(_prompts(bench, PROMPT, PROMPTS))
    return _streams(bench, "generation", prompts, TOKENS, STREAMS, same_text)


def words(bench: Bench) -> list[Row]:
    """Of shape L, likewise."""
    known = " ".join(penn_treebank(bench.data, "valid")).split()
    prompts = [
        " ".join(known[start : start + PROMPT_WORDS])
        for start in range(0, PROMPTS * PROMPT_WORDS, PROMPT_WORDS)
    ]
    return _streams(bench, "words", prompts, TOKENS_OF_WORDS, STREAMS_OF_WORDS, same_words)


def _streams(
    bench: Bench,
    model: str,
    prompts: list[str],
    tokens: int,
    streams: Sequence[int],
    same: Same,
) -> list[Row]:
    cells = [
        Cell(
            f"{count} streams" if count > 1 else "1 stream",
            count,
            [our_body(prompt, tokens, model) for prompt in prompts],
            [{"prompt": prompt, "tokens": tokens} for prompt in prompts],
            tokens=tokens,
            fresh="prompt",
        )
        for count in streams
    ]
    return side_by_side(bench, model, "/generations", cells, same)


def prefixes(bench: Bench) -> list[Row]:
    """The first token after a long prompt, one client."""
    cells = []
    for work, count, fresh in ((NEW, LONG_PROMPTS, "prompt"), (REPEATED, 1, "")):
        prompts = list(_prompts(bench, LONG_PROMPT, count, seed=count))
        ours = [our_body(prompt, 1) for prompt in prompts]
        theirs = [{"prompt": prompt, "tokens": 1} for prompt in prompts]
        cells.append(Cell(work, 1, ours, theirs, tokens=1, fresh=fresh))
    return side_by_side(bench, "generation", "/generations", cells, same_text)


def our_body(prompt: str, tokens: int, model: str = "generation") -> dict[str, Any]:
    return {
        "model": model,
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


def same_words(ours: list[httpx.Response], theirs: list[httpx.Response]) -> str:
    """Peers write a space before the first word of a line, too."""
    for index, pair in enumerate(zip(ours, theirs, strict=True)):
        our_words, their_words = (streamed(answer).split() for answer in pair)
        if our_words != their_words:
            return f"other words from prompt {index}: {their_words!r}, not {our_words!r}."
    return ""


def _prompts(bench: Bench, length: int, count: int, seed: int = 0) -> Iterator[str]:
    """Pieces of a play, all different from their first characters on."""
    text = tinyshakespeare(bench.data)
    drawn = random.Random(seed)
    for number in range(count):
        start = drawn.randrange(len(text) - length)
        yield f"{seed}.{number} {text[start:]}"[:length]
