"""The artifact store: paths that cannot be led astray, files that are whole or absent."""

import errno
import hashlib
import os
import time
from pathlib import Path
from uuid import UUID

import pytest

from service.artifacts.store import ArtifactStore
from service.errors import InsufficientStorageError

JOB = UUID("0190aaaa-0000-7000-8000-000000000001")
BYTES = b"a,b\n1,2\n"
DIGEST = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    store = ArtifactStore(tmp_path / "artifacts")
    store.prepare()
    return store


def test_paths_follow_the_documented_layout(store: ArtifactStore) -> None:
    job = f"jobs/{JOB}/attempt-2"
    assert store.relative(store.checkpoints_dir(JOB, 2)) == f"{job}/checkpoints"
    assert store.relative(store.model_dir(JOB, 2)) == f"{job}/model"
    assert store.relative(store.dataset_path(DIGEST)) == f"datasets/{DIGEST}"
    assert store.absolute(f"{job}/model") == store.model_dir(JOB, 2)


@pytest.mark.parametrize("digest", ["../../etc/passwd", DIGEST.upper(), DIGEST[:-1], ""])
def test_only_a_digest_names_a_dataset(store: ArtifactStore, digest: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        store.dataset_path(digest)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "jobs/../../x", ""])
def test_a_stored_path_cannot_leave_the_root(store: ArtifactStore, path: str) -> None:
    with pytest.raises(ValueError, match="inside"):
        store.absolute(path)


def test_a_temporary_file_that_is_kept_becomes_the_dataset(store: ArtifactStore) -> None:
    with store.temporary_file() as (path, file):
        file.write(BYTES)
        file.flush()
        kept = store.keep_dataset(path, DIGEST)
    assert kept == store.dataset_path(DIGEST)
    assert kept.read_bytes() == BYTES
    assert files_in(store) == [kept]
    assert kept.stat().st_mode & 0o077 == 0


def test_the_same_bytes_twice_are_one_file(store: ArtifactStore) -> None:
    for _ in range(2):
        with store.temporary_file() as (path, file):
            file.write(BYTES)
            file.flush()
            store.keep_dataset(path, DIGEST)
    assert len(files_in(store)) == 1


def test_a_failure_leaves_no_file(store: ArtifactStore) -> None:
    with pytest.raises(RuntimeError):
        fail_while_writing(store, RuntimeError())
    assert files_in(store) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_leaves_no_file(store: ArtifactStore, code: int) -> None:
    with pytest.raises(InsufficientStorageError):
        fail_while_writing(store, OSError(code, os.strerror(code)))
    assert files_in(store) == []


def test_another_disk_error_stays_what_it_is(store: ArtifactStore) -> None:
    with pytest.raises(OSError, match="Input/output"):
        fail_while_writing(store, OSError(errno.EIO, os.strerror(errno.EIO)))


def test_only_old_temporaries_are_removed(store: ArtifactStore) -> None:
    old, new = store.root / "tmp" / "old", store.root / "tmp" / "new"
    old.touch()
    new.touch()
    an_hour_ago = time.time() - 3600
    os.utime(old, (an_hour_ago, an_hour_ago))
    assert store.remove_stale_temporaries(older_than_seconds=600) == 1
    assert files_in(store) == [new]


def test_unfinished_folders_of_crashed_trainers_are_removed(store: ArtifactStore) -> None:
    """A trainer that is killed while it saves leaves a hidden folder behind."""
    checkpoints = store.checkpoints_dir(JOB, 1)
    model = store.model_dir(JOB, 1)
    for folder in (checkpoints / "step-1", model):
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    for folder in (checkpoints / ".step-2.x", checkpoints / ".step-3.y", model.parent / ".model.z"):
        folder.mkdir()
        (folder / "tensors.safetensors").write_bytes(BYTES)
        if folder.suffix != ".y":
            os.utime(folder, (0, 0))
    assert store.remove_stale_temporaries(older_than_seconds=600) == 2
    assert {path.name for path in checkpoints.iterdir()} == {"step-1", ".step-3.y"}
    assert [path.name for path in model.parent.glob("*model*")] == ["model"]


def test_checkpoints_are_removed_up_to_an_attempt(store: ArtifactStore) -> None:
    """Those of later ones stay: the job is tried again."""
    for attempt in (1, 2, 3):
        (store.checkpoints_dir(JOB, attempt) / "step-1").mkdir(parents=True)
        store.model_dir(JOB, attempt).mkdir()
    (store.root / "jobs" / "of somebody" / "attempt-1" / "checkpoints").mkdir(parents=True)
    assert store.jobs_with_checkpoints() == [JOB]
    store.remove_checkpoints(JOB, 2)
    assert [store.checkpoints_dir(JOB, attempt).is_dir() for attempt in (1, 2, 3)] == [
        False,
        False,
        True,
    ]
    store.remove_checkpoints(JOB, 3)
    assert store.jobs_with_checkpoints() == []
    assert store.model_dir(JOB, 2).is_dir()


def fail_while_writing(store: ArtifactStore, error: Exception) -> None:
    with store.temporary_file() as (_, file):
        file.write(BYTES)
        raise error


def files_in(store: ArtifactStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]
