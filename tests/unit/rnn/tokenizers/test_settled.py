"""A text may be cut where `settled` says, whatever comes after it."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnn.tokenizers import (
    BpeTokenizer,
    ByteTokenizer,
    CharacterTokenizer,
    SpacedWordTokenizer,
    WordTokenizer,
)

SAMPLE = "we'll say: don't stop, it's the 12th day!!  the\tend \n\n of it all, they've said "
WORDS = WordTokenizer.learn([SAMPLE], vocabulary_size=60, min_frequency=1)
BPE = BpeTokenizer.learn(lambda: [SAMPLE * 20], vocabulary_size=300)
SPACED = SpacedWordTokenizer.learn([SAMPLE], vocabulary_size=60)
CHARACTERS = CharacterTokenizer.learn([SAMPLE], vocabulary_size=60)

Encode = Callable[[str], list[int]]
Settled = Callable[[str], int]

TOKENIZERS: dict[str, tuple[Encode, Settled]] = {
    "byte": (ByteTokenizer().encode, ByteTokenizer().settled),
    "character": (CHARACTERS.encode, CHARACTERS.settled),
    "spaced": (SPACED.encode, SPACED.settled),
    "bpe": (BPE.encode, BPE.settled),
    "word": (WORDS.tokens, WORDS.settled),
}
# What is joined with its neighbours in some way: spaces, marks, ligatures, Hangul, contractions.
JOINING = "a'sltvremd 0½⁄ﬁ=!,\t\n\r\x1c\u00a0\u3000雪😀"
JOINING += "\u0301\u0338\u0323\u3099\uff9eｶ한ᄒ\u1161\u11ab\u093f"
pieces = st.lists(st.text(st.sampled_from(JOINING) | st.characters(codec="utf-8"), max_size=8))


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=300, deadline=None)
@given(pieces=pieces)
@example(pieces=["they", "'", "v", "e been"])
@example(pieces=["a=", "\u0301", "\u0338"])
@example(pieces=["x", "½ y", "½"])
@example(pieces=["a  ", " b", "  \n ", "\n c"])
@example(pieces=["\n", "\n", "0"])
def test_tokens_of_the_parts_are_the_tokens_of_the_whole(name: str, pieces: list[str]) -> None:
    encode, settled = TOKENIZERS[name]
    tokens: list[int] = []
    pending = ""
    for piece in pieces:
        pending += piece
        at = settled(pending)
        tokens += encode(pending[:at])
        pending = pending[at:]
    assert tokens + encode(pending) == encode("".join(pieces))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_long_text_is_settled_but_for_its_last_words(name: str) -> None:
    """What is not settled is kept and read again at each step."""
    _, settled = TOKENIZERS[name]
    for text in (SAMPLE * 9 + "and", "快，" * 50 + "快", SAMPLE * 9 + " " * 300):
        rest = text[settled(text) :]
        assert len(rest) < 8 or (name in ("spaced", "bpe") and rest.strip("快， ") == "")
