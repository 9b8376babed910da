"""Text to numbers and back: bytes for generation, words for classification."""

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKC, Lowercase
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import WordLevelTrainer

from rnn.config import BYTE_VOCABULARY_SIZE

PAD_TOKEN, UNKNOWN_TOKEN = 0, 1
_PAD, _UNKNOWN = "[PAD]", "[UNK]"
_NEWLINE = 10


class Utf8Decoder:
    """Turns byte tokens into text as they come; a character appears once its last byte is there."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that this byte completes, often one character, sometimes none."""
        return self._decoder.decode(bytes((token,)))

    def finish(self) -> str:
        """The replacement character where the text ended inside a character; otherwise nothing."""
        return self._decoder.decode(b"", final=True)


class ByteTokenizer:
    """UTF-8 bytes as tokens: every text can be written and read, with no unknown token."""

    vocabulary_size = BYTE_VOCABULARY_SIZE

    def encode(self, text: str) -> list[int]:
        """Tokens of a text. The empty text is a line break: a network must read something first."""
        return list(text.encode("utf-8", errors="replace")) or [_NEWLINE]

    def decoder(self) -> Utf8Decoder:
        return Utf8Decoder()


@dataclass(frozen=True)
class EncodedText:
    """Word tokens of one text, never empty; `known_share` is that of the words seen in training."""

    tokens: list[int]
    truncated: bool
    known_share: float


class WordTokenizer:
    """Lower-cased words and punctuation marks; token 0 is padding, token 1 an unknown word."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def learn(
        cls, texts: Iterable[str], *, vocabulary_size: int, min_frequency: int
    ) -> "WordTokenizer":
        """The most frequent words of the texts; equally frequent ones in alphabetical order."""
        tokenizer = Tokenizer(WordLevel({}, unk_token=_UNKNOWN))
        tokenizer.normalizer = NormalizerSequence([NFKC(), Lowercase()])
        tokenizer.pre_tokenizer = Whitespace()
        trainer = WordLevelTrainer(
            vocab_size=vocabulary_size,
            min_frequency=min_frequency,
            special_tokens=[_PAD, _UNKNOWN],
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        # Without the trainer's special tokens, which would be recognised in what a user writes.
        learned = Tokenizer(WordLevel(tokenizer.get_vocab(), unk_token=_UNKNOWN))
        learned.normalizer = tokenizer.normalizer
        learned.pre_tokenizer = tokenizer.pre_tokenizer
        return cls(learned)

    @classmethod
    def from_json(cls, text: str) -> "WordTokenizer":
        return cls(Tokenizer.from_str(text))

    def to_json(self) -> str:
        return self._tokenizer.to_str(pretty=True)

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str], *, max_tokens: int) -> list[EncodedText]:
        """Tokens of each text, cut after `max_tokens`. A text without words is one unknown word."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        encoded = []
        for encoding in encodings:
            ids: list[int] = encoding.ids
            tokens = ids[:max_tokens] or [UNKNOWN_TOKEN]
            known = sum(token != UNKNOWN_TOKEN for token in tokens)
            encoded.append(EncodedText(tokens, len(ids) > max_tokens, known / len(tokens)))
        return encoded
