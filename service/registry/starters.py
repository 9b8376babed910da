"""The trained networks that come with the program, published once in every new workspace.

A starter is a folder of `service/starters/`: `model/` as a training saves it, `card.md` with what
it was made of and how good it is, `starter.json` with what its version records. A deleted starter
does not come back, and a new release adds none to a workspace that is there already.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from service.artifacts.store import ArtifactStore, disk_full_is_said
from service.auth.store import create_workspace, get_workspace
from service.db.tables import Model, ModelVersion, Workspace
from service.registry.files import MANIFEST
from service.registry.store import point_production

FOLDER = Path(__file__).parents[1] / "starters"
REASON = "shipped"


class Starter(NamedTuple):
    name: str
    folder: Path
    card: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    parameters: int
    code_version: str
    manifest_sha256: str
    serving: dict[str, Any] | None


def read_starters(folder: Path = FOLDER) -> list[Starter]:
    """Those of a folder, by name."""
    return [_read(place) for place in sorted(folder.iterdir()) if (place / "model").is_dir()]


def open_workspace(
    db: Session, artifacts: Callable[[], ArtifactStore], name: str, folder: Path = FOLDER
) -> Workspace:
    """The workspace of this name; a new one, for which alone `artifacts` is called, has the
    starters."""
    workspace = create_workspace(db, name)
    if workspace is None:
        return get_workspace(db, name)
    publish_starters(db, artifacts(), workspace.id, folder)
    return workspace


def publish_starters(
    db: Session, artifacts: ArtifactStore, workspace_id: UUID, folder: Path = FOLDER
) -> list[str]:
    """Makes each starter version 1 of its name in a workspace that has no models yet; the names.

    Copies the files first: a failed transaction leaves folders that no row names.
    """
    starters = read_starters(folder)
    for starter in starters:
        model = Model(workspace_id=workspace_id, name=starter.name, task=starter.config["task"])
        db.add(model)
        db.flush()
        place = artifacts.starter_dir(model.id)
        with disk_full_is_said():
            shutil.copytree(starter.folder / "model", place)
            os.utime(place)  # as old as the program, it would look like one left behind
        version = ModelVersion(
            model_id=model.id,
            version=1,
            attempt=0,
            config=starter.config,
            seed=starter.config["training"]["seed"],
            code_version=starter.code_version,
            metrics=starter.metrics,
            artifact_path=artifacts.relative(place),
            artifact_sha256=starter.manifest_sha256,
            parameters=starter.parameters,
            serving=starter.serving,
            card=starter.card,
        )
        db.add(version)
        db.flush()
        point_production(db, model, version, reason=REASON)
    return [starter.name for starter in starters]


def _read(place: Path) -> Starter:
    recorded = json.loads((place / "starter.json").read_bytes())
    description = json.loads((place / "model" / "description.json").read_bytes())
    return Starter(
        name=place.name,
        folder=place,
        card=(place / "card.md").read_text(encoding="utf-8"),
        config=description["config"],
        metrics=recorded["metrics"],
        parameters=recorded["parameters"],
        code_version=recorded["code_version"],
        manifest_sha256=hashlib.sha256((place / "model" / MANIFEST).read_bytes()).hexdigest(),
        serving=description["values"].get("serving"),
    )
