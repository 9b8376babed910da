"""Tokens of texts that are continued: learned alike each time, decoded as they come."""

from collections.abc import Callable

import pytest

from rnn.tokenizers import (
    BpeTokenizer,
    ByteTokenizer,
    CharacterTokenizer,
    LearnedTextTokenizer,
    SpacedWordTokenizer,
    TextTokenizer,
    text_tokenizer_from_json,
)

TEXT = "the cat sat — the café\nthe dog sat\n" * 3
UNSEEN = "der süße 雪だるま ☃ 👩‍🚀\tzzz\r\n"


def characters() -> CharacterTokenizer:
    return CharacterTokenizer.learn([TEXT], vocabulary_size=1000)


def words() -> SpacedWordTokenizer:
    return SpacedWordTokenizer.learn([TEXT], vocabulary_size=1000)


def pieces() -> BpeTokenizer:
    return BpeTokenizer.learn(lambda: [TEXT], vocabulary_size=280)


LEARNED = pytest.mark.parametrize("learn", [characters, words, pieces])


def decoded(tokenizer: TextTokenizer, tokens: list[int], prompt: str = "") -> str:
    decoder = tokenizer.decoder(prompt)
    return "".join(decoder.push(token) for token in tokens) + decoder.finish()


@LEARNED
def test_the_text_that_was_learned_comes_back(learn: Callable[[], LearnedTextTokenizer]) -> None:
    tokenizer = learn()
    tokens = tokenizer.encode(TEXT)
    assert decoded(tokenizer, tokens) == TEXT
    assert set(tokens) <= set(range(tokenizer.vocabulary_size))


@LEARNED
def test_learning_again_gives_the_same_tokens_and_json_brings_them_back(
    learn: Callable[[], LearnedTextTokenizer],
) -> None:
    tokenizer = learn()
    assert learn().to_json() == tokenizer.to_json()
    name = {characters: "character", words: "word", pieces: "bpe"}[learn]
    restored = text_tokenizer_from_json(name, tokenizer.to_json())  # type: ignore[arg-type]
    assert restored.encode(TEXT + UNSEEN) == tokenizer.encode(TEXT + UNSEEN)
    assert restored.to_json() == tokenizer.to_json()


@LEARNED
def test_tokens_are_numbered_by_how_often_they_come(
    learn: Callable[[], LearnedTextTokenizer],
) -> None:
    tokenizer = learn()
    tokens = tokenizer.encode(TEXT)
    counts = [tokens.count(token) for token in range(tokenizer.vocabulary_size)]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), pieces()])
@pytest.mark.parametrize("text", ["", UNSEEN, "a\x00b", "\ufffd", "  two  spaces "])
def test_every_text_can_be_written_in_bytes_and_their_pieces(
    tokenizer: TextTokenizer, text: str
) -> None:
    assert decoded(tokenizer, tokenizer.encode(text)) == text


def test_a_piece_that_ends_within_a_character_waits_for_the_rest() -> None:
    tokenizer = pieces()
    tokens = tokenizer.encode("☃")
    assert len(tokens) == 3
    decoder = tokenizer.decoder()
    assert [decoder.push(token) for token in tokens] == ["", "", "☃"]
    decoder.push(tokens[0])
    assert decoder.finish() == "\ufffd"


def test_a_prompt_with_half_a_surrogate_pair_is_encoded() -> None:
    """JSON may hold one, and UTF-8 cannot."""
    assert decoded(pieces(), pieces().encode("a\ud800b")) == "a?b"


def test_unseen_characters_are_one_unknown() -> None:
    tokenizer = characters()
    assert decoded(tokenizer, tokenizer.encode("the zoo")) == "the \ufffdoo"
    assert len(set(tokenizer.encode("雪☃"))) == 1


def test_unseen_words_are_one_unknown() -> None:
    tokenizer = words()
    assert decoded(tokenizer, tokenizer.encode("the zebra\nsat")) == "the <unk>\nsat"


def test_the_special_words_of_published_texts_are_meant_by_name() -> None:
    tokenizer = words()
    assert tokenizer.encode("the <unk> <eos>") == tokenizer.encode("the zebra\n")


def test_each_line_end_is_a_token_and_other_space_is_not() -> None:
    tokenizer = words()
    end = tokenizer.encode("\n")
    assert tokenizer.encode("\n\n") == end * 2
    assert tokenizer.encode("  cat \t ") == tokenizer.encode("cat")
    assert tokenizer.encode("cat\n") == tokenizer.encode("cat") + end


@pytest.mark.parametrize(
    ("prompt", "text"),
    [("", "cat sat"), ("the", " cat sat"), ("the ", "cat sat"), ("end\n", "cat sat")],
)
def test_the_first_word_is_parted_from_the_prompt_by_one_space(prompt: str, text: str) -> None:
    tokenizer = words()
    assert decoded(tokenizer, tokenizer.encode("cat sat"), prompt) == text


def test_words_without_a_place_count_as_the_unknown_one() -> None:
    learned = SpacedWordTokenizer.learn(["a a a a b b b c c d e f"], vocabulary_size=4)
    assert learned.vocabulary_size == 4
    # `<unk>` stands for c, c, d, e and f: it is the most frequent, and `<eos>` never came.
    assert decoded(learned, [0, 1, 2, 3, 1]) == "<unk> a b\na"


def test_rare_characters_are_the_unknown_one() -> None:
    learned = CharacterTokenizer.learn(["aaabbc", "d"], vocabulary_size=10, min_frequency=2)
    assert decoded(learned, learned.encode("abcd")) == "ab\ufffd\ufffd"
    assert decoded(learned, [0, 1, 2]) == "ab\ufffd"  # the unknown one stands for c and d


def test_rare_pairs_are_not_joined() -> None:
    learned = BpeTokenizer.learn(lambda: ["ab ab ab", "xy"], vocabulary_size=300, min_frequency=2)
    assert len(learned.encode("ab")) == 1
    assert len(learned.encode("xy")) == 2
    assert learned.encode("xy")[0] != learned.encode("ab")[0]


def test_equally_frequent_tokens_do_not_depend_on_their_order() -> None:
    one = SpacedWordTokenizer.learn(["x y z w"], vocabulary_size=4)
    other = SpacedWordTokenizer.learn(["w z y x"], vocabulary_size=4)
    assert one.to_json() == other.to_json()


@pytest.mark.parametrize("name", ["character", "word", "bpe"])
@pytest.mark.parametrize("text", ["", "{}", '{"tokens": [1]}', '{"tokens": ["a", "a"]}', "[]"])
def test_what_is_no_tokenizer_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        text_tokenizer_from_json(name, text)  # type: ignore[arg-type]
