"""Ids and signatures that are known again, by this installation and workspace alone."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from service.errors import StateInvalidError
from service.sessions import exports
from service.sessions.names import LENGTH, Names
from service.sessions.records import Pinned
from service.sessions.signing import FILE, Signer

WORKSPACE, OTHER = UUID(int=1), UUID(int=2)
PINNED = Pinned("verses", 3, "text-generation", "a" * 64, 60, {"a": "b"}, {"seed": 1}, True)


def test_an_id_tells_when_it_was_made_where_it_was_made(tmp_path: Path) -> None:
    names = Names(Signer(tmp_path))
    made = {names.new(WORKSPACE, 1_790_000_000_123) for _ in range(100)}
    assert len(made) == 100
    for name in made:
        assert len(name) == LENGTH
        assert names.made_at_ms(WORKSPACE, name) == 1_790_000_000_123
        assert Names(Signer(tmp_path)).made_at_ms(WORKSPACE, name) == 1_790_000_000_123
        assert names.made_at_ms(OTHER, name) is None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert Names(Signer(elsewhere)).made_at_ms(WORKSPACE, name) is None


def test_every_character_of_an_id_counts(tmp_path: Path) -> None:
    """Two bits of the last one are not in the bytes: with other letters it was the same id."""
    names = Names(Signer(tmp_path))
    name = names.new(WORKSPACE, 1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place in range(4, LENGTH):
        for letter in alphabet:
            changed = name[:place] + letter + name[place + 1 :]
            assert (names.made_at_ms(WORKSPACE, changed) is not None) == (changed == name)


def test_processes_that_start_at_once_have_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        signed = set(pool.map(lambda _: Signer(tmp_path).sign("x", b"y"), range(64)))
    assert len(signed) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_a_signature_is_for_one_purpose_and_for_its_parts(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    signed = {
        signer.sign("id", b"ab", b"c"),
        signer.sign("id", b"a", b"bc"),
        signer.sign("id", b"abc"),
        signer.sign("state", b"ab", b"c"),
    }
    assert len(signed) == 4


def test_an_export_holds_what_it_was_made_of(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    exported = exports.Exported(PINNED, b"\0state")
    text = exports.write(signer, WORKSPACE, exported)
    assert exports.read(signer, WORKSPACE, text) == exported
    with pytest.raises(StateInvalidError, match="elsewhere"):
        exports.read(signer, OTHER, text)


def test_an_export_of_another_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer(tmp_path)
    monkeypatch.setattr(exports, "FORMAT_VERSION", 2)
    text = exports.write(signer, WORKSPACE, exports.Exported(PINNED, b""))
    monkeypatch.undo()
    with pytest.raises(StateInvalidError, match="another format"):
        exports.read(signer, WORKSPACE, text)
