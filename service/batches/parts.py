"""What a batch has written so far: files of whole rows, and the list that vouches for them.

A part is written under a temporary name, synced, and renamed to the rows that it holds. A
checkpoint of a batch is a folder with the list of all parts, with the digest of each; the job's row
holds the digest of the list. Parts lie in the folder of the attempt that wrote them: one that was
replaced meanwhile changes nothing that its successor reads.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from rnn.errors import CheckpointError
from service.artifacts.store import fsync_directory

LIST = "parts.json"
COPY_BYTES = 2**20


class Part(BaseModel):
    """A file of rows; the first and the last of them count from 1."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    path: str  # relative to the job's folder
    first: int
    last: int
    size_bytes: int
    sha256: str


class Saved(BaseModel):
    """All rows up to some number: what a later attempt goes on from."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    parts: tuple[Part, ...] = ()
    failed_rows: int = 0  # those among them that have an error in place of an answer

    @property
    def rows(self) -> int:
        return self.parts[-1].last if self.parts else 0

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)


class Written(NamedTuple):
    sha256: str
    size_bytes: int


class PartFile:
    """A part that is being written; it is there for nobody before `close`."""

    def __init__(self, folder: Path, first: int) -> None:
        self._folder = folder
        self._first = first
        self._temporary = folder / f".part-{first}"
        self._digest = hashlib.sha256()
        self._file: BinaryIO = self._temporary.open("xb")
        self.size_bytes = 0

    def write(self, lines: bytes) -> None:
        self._file.write(lines)
        self._digest.update(lines)
        self.size_bytes += len(lines)

    def close(self, last: int, job_dir: Path) -> Part:
        """Makes the part durable, as that of the rows from its first to `last`."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        path = self._folder / f"part-{self._first}-{last}.jsonl"
        self._temporary.rename(path)
        fsync_directory(self._folder)
        return Part(
            path=path.relative_to(job_dir).as_posix(),
            first=self._first,
            last=last,
            size_bytes=self.size_bytes,
            sha256=self._digest.hexdigest(),
        )

    def discard(self) -> None:
        self._file.close()
        self._temporary.unlink()


def save(folder: Path, saved: Saved) -> None:
    """Writes the list of parts as a new folder, whole or not at all."""
    temporary = folder.with_name(f".{folder.name}")
    temporary.mkdir()
    content = saved.model_dump_json(indent=1).encode() + b"\n"
    with (temporary / LIST).open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fsync_directory(temporary)
    temporary.rename(folder)
    fsync_directory(folder.parent)


def read(folder: Path) -> Saved:
    """Raises CheckpointError where the list is missing or is none."""
    try:
        return Saved.model_validate_json(_content(folder))
    except ValidationError as error:
        raise CheckpointError(f"{folder.name} is of an unknown form") from error


def list_sha256(folder: Path) -> str:
    """The digest that stands for all parts, since the list holds that of each."""
    return hashlib.sha256(_content(folder)).hexdigest()


def verify(folder: Path, job_dir: Path) -> None:
    """Looks at all bytes of each part; raises CheckpointError where one is not as it was saved."""
    for part in read(folder).parts:
        try:
            with (job_dir / part.path).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"{part.path} cannot be read: {error.strerror}") from error
        if found != part.sha256:
            raise CheckpointError(f"{part.path} is torn or was changed")


def _content(folder: Path) -> bytes:
    try:
        return (folder / LIST).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder.name} cannot be read: {error.strerror}") from error


def join(parts: Sequence[Part], job_dir: Path, target: Path) -> Written:
    """One synced file of all parts, in order."""
    digest, size_bytes = hashlib.sha256(), 0
    with target.open("xb") as whole:
        for part in parts:
            with (job_dir / part.path).open("rb") as file:
                while piece := file.read(COPY_BYTES):
                    whole.write(piece)
                    digest.update(piece)
                    size_bytes += len(piece)
        whole.flush()
        os.fsync(whole.fileno())
    return Written(digest.hexdigest(), size_bytes)
