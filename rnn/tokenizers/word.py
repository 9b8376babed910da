"""Words as tokens of texts that are classified."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from unicodedata import category, combining, normalize

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKC, Lowercase
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import WordLevelTrainer

from rnn.config.classification import TruncationName
from rnn.tokenizers.encoded import EncodedText, encoded_text
from rnn.tokenizers.text import Span

PAD_TOKEN, UNKNOWN_TOKEN = 0, 1
_PAD, _UNKNOWN = "[PAD]", "[UNK]"
_TEXTS_AT_ONCE = 1_000  # their offsets and masks are held while they are encoded


class WordTokenizer:
    """Lower-cased words and punctuation marks; token 0 is padding, token 1 an unknown word."""

    unknown_token = UNKNOWN_TOKEN
    nothing: Sequence[int] = (UNKNOWN_TOKEN,)  # stands for a text without words

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

    def encode(
        self, texts: Sequence[str], *, max_tokens: int, truncation: TruncationName = "start"
    ) -> list[EncodedText]:
        """Tokens of each text, at most `max_tokens`. A text without words is one unknown word."""
        return [
            encoded_text(
                encoding.ids or [UNKNOWN_TOKEN],
                max_tokens=max_tokens,
                truncation=truncation,
                unknown=UNKNOWN_TOKEN,
            )
            for start in range(0, len(texts), _TEXTS_AT_ONCE)
            for encoding in self._tokenizer.encode_batch(
                list(texts[start : start + _TEXTS_AT_ONCE]), add_special_tokens=False
            )
        ]

    def tokens(self, text: str) -> list[int]:
        """All tokens of one text; a text without words has none."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def spans(self, text: str) -> list[Span]:
        """Where these stand in it."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        spans = []
        for (start, end), (following, _) in pairwise([*offsets, (len(text), len(text))]):
            # What joined the character before it, as an accent does, is not in the offsets.
            while end < following and not text[end].isspace():
                end += 1
            spans.append((start, end))
        return spans

    def settled(self, text: str) -> int:
        """How many first characters may be encoded by themselves, whatever follows the text.

        White space ends a word. Without it, all words but the last are as they are if the last
        begins with a character that cannot be joined with what is before it.
        """
        spaced = max(text.rfind(space) for space in " \t\n\r") + 1
        words = self._tokenizer.encode(text[spaced:], add_special_tokens=False).offsets
        for (_, end), (start, _) in reversed(list(pairwise(words))):
            if end <= start and _stands_alone(text[spaced + start]):
                return spaced + start
        return spaced


def _stands_alone(character: str) -> bool:
    """Whether what it is normalised to begins with no mark of the character before it."""
    first = normalize("NFKC", character)[0]
    return not combining(first) and category(first)[0] != "M"
