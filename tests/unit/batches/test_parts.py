from pathlib import Path

import pytest

from rnn.errors import CheckpointError
from service.batches import parts
from service.batches.parts import Part, PartFile, Saved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An attempt's folder of checkpoints, in the folder of its job."""
    folder = tmp_path / "attempt-1" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, job_dir: Path, first: int, last: int) -> Part:
    file = PartFile(folder, first)
    for row in range(first, last + 1):
        file.write(f"{row}\n".encode())
    return file.close(last, job_dir)


def test_a_part_is_there_once_it_is_whole(folder: Path, tmp_path: Path) -> None:
    file = PartFile(folder, 1)
    file.write(b"1\n")
    assert not list(folder.glob("part-*"))
    part = file.close(1, tmp_path)
    assert part.path == "attempt-1/checkpoints/part-1-1.jsonl"
    assert [path.name for path in folder.iterdir()] == ["part-1-1.jsonl"]
    assert (tmp_path / part.path).read_bytes() == b"1\n"


def test_what_is_discarded_leaves_nothing(folder: Path) -> None:
    file = PartFile(folder, 1)
    file.write(b"1\n")
    file.discard()
    assert not list(folder.iterdir())


def test_a_list_is_read_as_it_was_saved(folder: Path, tmp_path: Path) -> None:
    saved = Saved(
        parts=(write(folder, tmp_path, 1, 3), write(folder, tmp_path, 4, 9)), failed_rows=2
    )
    parts.save(folder / "step-9", saved)
    parts.verify(folder / "step-9", tmp_path)
    assert parts.read(folder / "step-9") == saved
    assert (saved.rows, saved.size_bytes) == (9, 18)
    assert Saved().rows == 0


def test_whoever_goes_on_names_the_parts_of_those_before(folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "attempt-2" / "checkpoints"
    second.mkdir(parents=True)
    saved = Saved(parts=(write(folder, tmp_path, 1, 3), write(second, tmp_path, 4, 5)))
    parts.save(second / "step-5", saved)
    parts.verify(second / "step-5", tmp_path)
    written = parts.join(saved.parts, tmp_path, second / "result.jsonl")
    assert (second / "result.jsonl").read_bytes() == b"1\n2\n3\n4\n5\n"
    assert written.size_bytes == 10


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda part, _list: part.write_bytes(b"1\n2\n4\n"), "torn or was changed"),
        (lambda part, _list: part.write_bytes(b"1\n2\n"), "torn or was changed"),
        (lambda part, _list: part.unlink(), "cannot be read"),
        (lambda _part, list_: list_.unlink(), "cannot be read"),
        (lambda _part, list_: list_.write_text("{}x"), "unknown form"),
        (lambda _part, list_: list_.write_text('{"rows": 1}'), "unknown form"),
    ],
)
def test_what_is_not_as_it_was_is_refused(
    folder: Path, tmp_path: Path, damage: object, words: str
) -> None:
    part = write(folder, tmp_path, 1, 3)
    parts.save(folder / "step-3", Saved(parts=(part,)))
    damage(tmp_path / part.path, folder / "step-3" / parts.LIST)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=words):
        parts.verify(folder / "step-3", tmp_path)


def test_the_digest_is_that_of_the_list(folder: Path, tmp_path: Path) -> None:
    for step, last in ((3, 3), (4, 4)):
        parts.save(folder / f"step-{step}", Saved(parts=(write(folder, tmp_path, 1, last),)))
    assert parts.list_sha256(folder / "step-3") != parts.list_sha256(folder / "step-4")
    with pytest.raises(CheckpointError):
        parts.list_sha256(folder / "step-5")
