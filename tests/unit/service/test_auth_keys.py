"""The text of a key."""

import string

import pytest

from service.auth.keys import PlainKey, is_secret_of, new_key, parse


def test_a_new_key_is_read_back() -> None:
    key = new_key()
    assert parse(key.text) == key
    assert key.text.startswith(f"rp_{key.public_id}_{key.secret}_")


def test_two_keys_differ_in_id_and_secret() -> None:
    first, second = new_key(), new_key()
    assert first.public_id != second.public_id
    assert first.secret != second.secret


def test_a_secret_has_256_bits() -> None:
    assert len(set(string.ascii_letters + string.digits)) ** len(new_key().secret) > 2**256


def test_every_changed_character_is_noticed() -> None:
    text = PlainKey("0" * 16, "a" * 43).text
    for place, character in enumerate(text):
        changed = text[:place] + ("b" if character != "b" else "c") + text[place + 1 :]
        assert parse(changed) is None, place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rp_",
        "sk-" + "a" * 48,
        "rp_" + "a" * 16 + "_" + "b" * 43,
        "rp_" + "a" * 16 + "_" + "b" * 43 + "_000000",
        "rp_" + "а" * 16 + "_" + "b" * 43 + "_000000",  # Cyrillic а
        "rp_" + "a" * 16 + "_" + "b" * 43 + "_٠٠٠٠٠٠",  # digits that are not ASCII
        "\udcff",
    ],
)
def test_other_texts_are_no_keys(text: str) -> None:
    assert parse(text) is None


def test_case_and_surroundings_count() -> None:
    text = PlainKey("aB" * 8, "xY" * 21 + "z").text
    assert parse(text) is not None
    for changed in (text.upper(), text.lower(), text.swapcase(), text + "\n", " " + text):
        assert parse(changed) is None


def test_the_secret_is_not_in_the_representation() -> None:
    key = new_key()
    assert key.secret not in repr(key)


def test_only_the_hash_of_the_secret_fits() -> None:
    key, other = new_key(), new_key()
    assert is_secret_of(key, key.secret_sha256)
    assert not is_secret_of(key, other.secret_sha256)
    assert not is_secret_of(key, None)


def test_a_stolen_hash_is_no_key() -> None:
    """bad_inputs keys-35."""
    key = new_key()
    assert parse(f"rp_{key.public_id}_{key.secret_sha256.hex()}_000000") is None
