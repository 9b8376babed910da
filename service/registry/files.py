"""The files of a model version: what its manifest names, and nothing else of its folder."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from service.errors import NotFoundError, UnavailableError

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ArtifactFile:
    name: str
    sha256: str
    size_bytes: int


def list_files(folder: Path) -> list[ArtifactFile]:
    """The manifest and every file that it names.

    Raises UnavailableError where the folder is not there, or not what it was.
    """
    try:
        manifest = (folder / MANIFEST).read_bytes()
        listed = json.loads(manifest)["files"]
        files = [
            ArtifactFile(name, file["sha256"], file["size_bytes"])
            for name, file in sorted(listed.items())
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.exception("cannot read the manifest in %s", folder)
        raise UnavailableError("The files of this model version cannot be read.") from error
    return [ArtifactFile(MANIFEST, hashlib.sha256(manifest).hexdigest(), len(manifest)), *files]


def find_file(folder: Path, name: str) -> ArtifactFile:
    """A listed file. A name that is not listed is never looked for on the disk."""
    for file in list_files(folder):
        if file.name == name:
            return file
    raise NotFoundError("The model version has no such file: its own page lists them.")
