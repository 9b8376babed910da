from uuid import UUID

from service.sessions.recent import Recent
from service.sessions.records import RECORD_BYTES, Held, Pinned, Session

HERE, ELSEWHERE = UUID(int=1), UUID(int=2)


def held(name: str, state_bytes: int, workspace_id: UUID = HERE) -> Held:
    pinned = Pinned("m", 1, "text-generation", "", 60)
    session = Session(workspace_id, name, 0, pinned, 1, 1, 0, 0)
    return Held(session, b"s" * (state_bytes - RECORD_BYTES), b"", b"")


def test_what_is_taken_is_forgotten() -> None:
    recent = Recent(100_000)
    kept = held("a", 10_000)
    recent.keep(kept)
    assert recent.take(ELSEWHERE, "a") is None
    assert recent.take(HERE, "a") is kept
    assert recent.take(HERE, "a") is None
    assert recent.size_bytes == 0


def test_the_least_recently_used_make_room() -> None:
    recent = Recent(30_000)
    for name in "abca":
        recent.keep(held(name, 10_000))
    recent.keep(held("d", 20_000))
    assert recent.size_bytes == 30_000
    assert recent.take(HERE, "b") is None
    assert recent.take(HERE, "c") is None
    assert recent.take(HERE, "a") is not None
    assert recent.take(HERE, "d") is not None


def test_what_alone_is_too_large_displaces_only_its_own_past() -> None:
    recent = Recent(30_000)
    recent.keep(held("a", 10_000))
    recent.keep(held("b", 10_000))
    recent.keep(held("b", 40_000))
    assert recent.size_bytes == 10_000
    assert recent.take(HERE, "b") is None
    assert recent.take(HERE, "a") is not None
