"""UTF-8 bytes as tokens."""

import codecs

from rnn.config import BYTE_VOCABULARY_SIZE
from rnn.tokenizers.text import Span


class Utf8Decoder:
    """Turns bytes into text as they come; a character appears once its last byte is there."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that this byte completes, often one character, sometimes none."""
        return self.push_bytes(bytes((token,)))

    def push_bytes(self, data: bytes) -> str:
        """The text that these bytes complete."""
        return self._decoder.decode(data)

    def __copy__(self) -> "Utf8Decoder":
        copied = Utf8Decoder()
        copied._decoder.setstate(self._decoder.getstate())
        return copied

    def finish(self) -> str:
        """The replacement character where the text ended inside a character; otherwise nothing."""
        return self._decoder.decode(b"", final=True)


class ByteTokenizer:
    """Every text can be written and read, with no unknown token and nothing to learn."""

    vocabulary_size = BYTE_VOCABULARY_SIZE
    unknown_token = None

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", errors="replace"))

    def spans(self, text: str) -> list[Span]:
        return [
            (place, place + 1)
            for place, character in enumerate(text)
            for _ in character.encode("utf-8", errors="replace")
        ]

    def decoder(self, prompt: str = "") -> Utf8Decoder:  # noqa: ARG002  # bytes join as they are
        return Utf8Decoder()

    def settled(self, text: str) -> int:
        return len(text)
