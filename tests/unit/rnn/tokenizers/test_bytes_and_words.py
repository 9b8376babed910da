import pytest

from rnn.tokenizers import UNKNOWN_TOKEN, ByteTokenizer, WordTokenizer


@pytest.mark.parametrize(
    "text", ["plain", "café — 雪だるま ☃", "👩‍🚀 zero\u200dwidth", "a\x00b\r\n"]
)
def test_bytes_come_back_as_the_text_that_they_were(text: str) -> None:
    tokenizer = ByteTokenizer()
    decoder = tokenizer.decoder()
    pieces = [decoder.push(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) + decoder.finish() == text


def test_no_piece_of_a_character_is_given_out() -> None:
    decoder = ByteTokenizer().decoder()
    assert [decoder.push(byte) for byte in "é☃".encode()] == ["", "é", "", "", "☃"]


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    decoder = ByteTokenizer().decoder()
    assert decoder.push(0xFF) == "\ufffd"
    assert decoder.push(0xE2) == ""
    assert decoder.push(ord("a")) == "\ufffda"
    assert decoder.push(0xE2) == ""
    assert decoder.finish() == "\ufffd"


def words() -> WordTokenizer:
    texts = ["The cat sat.", "the dog sat!", "A cat ran."]
    return WordTokenizer.learn(texts, vocabulary_size=100, min_frequency=1)


def test_words_are_lower_cased_and_marks_stand_alone() -> None:
    first, second = words().encode(["THE CAT", "the cat"], max_tokens=10)
    assert first == second
    apart, together = words().encode(["the dog sat !", "the dog sat!"], max_tokens=10)
    assert apart == together
    assert apart.known_share == 1


def test_known_share_counts_the_words_seen_in_training() -> None:
    known, half, none = words().encode(["the cat", "the zebra", "雪"], max_tokens=10)
    assert (known.known_share, half.known_share, none.known_share) == (1, 0.5, 0)


def test_a_text_longer_than_allowed_is_cut_and_says_so() -> None:
    short, long = words().encode(["the cat sat", "the cat sat ."], max_tokens=3)
    assert not short.truncated
    assert long.truncated
    assert short.tokens == long.tokens


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_a_text_without_words_is_one_unknown_word(text: str) -> None:
    assert words().encode([text], max_tokens=3)[0].tokens == [UNKNOWN_TOKEN]


def test_the_names_of_special_tokens_are_ordinary_text() -> None:
    """`[PAD]` written by a user was once read as padding."""
    encoded = words().encode(["[PAD] [UNK]"], max_tokens=10)[0]
    assert encoded.tokens == [UNKNOWN_TOKEN] * 6


def test_rare_words_are_left_out_and_json_brings_all_back() -> None:
    learned = WordTokenizer.learn(["a a b", "b c"], vocabulary_size=100, min_frequency=2)
    assert learned.vocabulary_size == 4
    restored = WordTokenizer.from_json(learned.to_json())
    assert restored.encode(["c b a"], max_tokens=5) == learned.encode(["c b a"], max_tokens=5)


def test_the_vocabulary_does_not_depend_on_the_order_of_equally_frequent_words() -> None:
    one = WordTokenizer.learn(["x y z w"], vocabulary_size=4, min_frequency=1)
    other = WordTokenizer.learn(["w z y x"], vocabulary_size=4, min_frequency=1)
    assert one.to_json() == other.to_json()
