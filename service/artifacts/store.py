"""Immutable bytes on disk: data sets by digest, checkpoints and models by job and attempt.

```
<root>/datasets/<sha256>
<root>/jobs/<job id>/attempt-<n>/checkpoints/step-<s>/
<root>/jobs/<job id>/attempt-<n>/checkpoints/part-<first row>-<last>.jsonl  of a prediction
<root>/jobs/<job id>/attempt-<n>/model/
<root>/starters/<model id>/ networks that came with the program
<root>/tmp/                 unfinished files
```

Unfinished folders lie, hidden, beside the one they will be. A crash leaves what is unfinished to
`remove_stale_temporaries`.

Every path is made of ids, numbers and digests that the server gave out, never of a client's words.
The database holds paths relative to the root, so that the folder may be moved or mounted elsewhere.
"""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from uuid import UUID

from service.errors import InsufficientStorageError

SHA256 = re.compile(r"[0-9a-f]{64}")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
CHECKPOINTS = "checkpoints"


@contextmanager
def disk_full_is_said() -> Iterator[None]:
    """Turns "no space left" and "quota exceeded" into the error that a caller is told."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise InsufficientStorageError(
                "the artifact folder has no space left; nothing was stored"
            ) from error
        raise


def fsync_directory(path: Path) -> None:
    """Makes the names in a folder durable: without it a rename may be lost by a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ArtifactStore:
    """Where everything lies, on a local or a shared file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Makes the folders, readable by the owner alone. Safe to repeat."""
        for folder in (self.root, self._datasets, self._jobs, self._temporary):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    # Paths

    @property
    def _datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def _jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def _temporary(self) -> Path:
        return self.root / "tmp"

    def dataset_path(self, sha256: str) -> Path:
        """The file of a data set with these bytes, whether it is there or not."""
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 in lower case hexadecimal: {sha256!r}")
        return self._datasets / sha256

    def job_dir(self, job_id: UUID) -> Path:
        return self._jobs / str(job_id)

    def attempt_dir(self, job_id: UUID, attempt: int) -> Path:
        return self.job_dir(job_id) / f"attempt-{attempt:d}"

    def checkpoints_dir(self, job_id: UUID, attempt: int) -> Path:
        return self.attempt_dir(job_id, attempt) / CHECKPOINTS

    def model_dir(self, job_id: UUID, attempt: int) -> Path:
        return self.attempt_dir(job_id, attempt) / "model"

    def starter_dir(self, model_id: UUID) -> Path:
        return self.root / "starters" / str(model_id)

    def relative(self, path: Path) -> str:
        """The form in which the database keeps a path of this store."""
        return path.relative_to(self.root).as_posix()

    def absolute(self, relative: str) -> Path:
        """The inverse of `relative`; a path that would leave the root is refused."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise ValueError(f"not a path inside the artifact folder: {relative!r}")
        return self.root / parts

    # Files

    @contextmanager
    def temporary_file(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file in the artifact folder, open for writing; removed unless it was kept.

        A full disk is an `InsufficientStorageError`, here and in the block.
        """
        with disk_full_is_said():
            self._temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._temporary)
            os.close(descriptor)
            path = Path(name)
            try:
                with path.open("wb") as file:
                    yield path, file
            finally:
                path.unlink(missing_ok=True)

    def keep_dataset(self, temporary: Path, sha256: str) -> Path:
        """Gives a finished temporary file its place; the same bytes twice are one file."""
        target = self.dataset_path(sha256)
        with disk_full_is_said():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.chmod(0o600)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
            fsync_directory(target.parent)
        return target

    def remove_dataset(self, sha256: str) -> None:
        self.dataset_path(sha256).unlink(missing_ok=True)

    def old_datasets(self, older_than_seconds: float) -> list[str]:
        """Digests of the files that have been there for longer."""
        found = _older(self._datasets.glob("*"), older_than_seconds)
        return sorted(path.name for path in found if SHA256.fullmatch(path.name))

    def old_models(self, older_than_seconds: float) -> dict[str, tuple[UUID, int] | None]:
        """Relative paths of the networks that have been there for longer, with the job and the
        attempt that trained each; None: it came with the program."""
        found: dict[str, tuple[UUID, int] | None] = {}
        for path in _older(self._jobs.glob("*/attempt-*/model"), older_than_seconds):
            with suppress(ValueError):  # a folder that somebody else made
                attempt = int(path.parent.name.removeprefix("attempt-"))
                found[self.relative(path)] = UUID(path.parents[1].name), attempt
        for path in _older(self.root.glob("starters/*"), older_than_seconds):
            found[self.relative(path)] = None
        return found

    def remove_model(self, relative: str) -> None:
        """What cannot be removed stays."""
        shutil.rmtree(self.absolute(relative), ignore_errors=True)

    def jobs_with_checkpoints(self) -> list[UUID]:
        """Jobs with a folder of checkpoints, whether there is one in it or not."""
        found = set()
        for path in self._jobs.glob(f"*/attempt-*/{CHECKPOINTS}"):
            with suppress(ValueError):  # a folder that somebody else made
                found.add(UUID(path.parent.parent.name))
        return sorted(found)

    def remove_checkpoints(self, job_id: UUID, last_attempt: int) -> None:
        """Removes those of the attempts up to this one; what cannot be removed stays."""
        for attempt in range(1, last_attempt + 1):
            shutil.rmtree(self.checkpoints_dir(job_id, attempt), ignore_errors=True)

    def remove_stale_temporaries(self, older_than_seconds: float) -> int:
        """Removes what crashed uploads and trainers left behind; returns how much."""
        removed = 0
        unfinished = chain(
            self._temporary.glob("*"),
            self._jobs.glob(f"*/attempt-*/{CHECKPOINTS}/.*"),
            self._jobs.glob("*/attempt-*/.model*"),
        )
        for path in _older(unfinished, older_than_seconds):
            with suppress(FileNotFoundError):  # another process was faster
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                removed += 1
        return removed


def _older(paths: Iterable[Path], seconds: float) -> Iterator[Path]:
    """Those that nobody has written to for so long."""
    limit = time.time() - seconds
    for path in paths:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < limit:
                yield path
