import io
import json
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.faults import scripted
from service.errors import NotFoundError
from workers.messages import BaseModelFolder, KeptCheckpoint, Train
from workers.trainer_control import Reporter
from workers.training import checked_base, choose_checkpoint


def saved(folder: Path, step: int) -> KeptCheckpoint:
    path = folder / f"step-{step}"
    scripted.save(path, {"step": step, "weights": ""})
    return KeptCheckpoint(step=step, path=path, sha256=scripted.manifest_sha256(path))


def chosen(*checkpoints: KeptCheckpoint) -> tuple[Path | None, dict[str, Any]]:
    pipe = io.BytesIO()
    order = Train.model_construct(checkpoints=list(checkpoints))
    path = choose_checkpoint(order, scripted.prepare(), Reporter(cast(Any, pipe)))
    return path, json.loads(pipe.getvalue())


def test_the_newest_checkpoint_is_chosen(tmp_path: Path) -> None:
    newest, older = saved(tmp_path, 20), saved(tmp_path, 10)
    path, report = chosen(newest, older)
    assert (path, report["used"], report["rejected"]) == (newest.path, 0, [])


def test_a_whole_folder_that_is_another_one_is_refused(tmp_path: Path) -> None:
    """Its files fit its own manifest, but that is not the manifest that was recorded."""
    newest, older = saved(tmp_path, 20), saved(tmp_path, 10)
    swapped = newest.model_copy(update={"path": saved(tmp_path / "other", 30).path})
    path, report = chosen(swapped, older)
    assert (path, report["used"]) == (older.path, 1)
    assert report["rejected"][0]["step"] == 20
    assert "not the folder that was saved" in report["rejected"][0]["reason"]


def checked(base: BaseModelFolder | None) -> Path | None:
    return checked_base(Train.model_construct(base=base), scripted.prepare())


def test_a_base_that_is_what_it_was(tmp_path: Path) -> None:
    kept = saved(tmp_path, 1)
    base = BaseModelFolder(name="verses", version=3, path=kept.path, sha256=kept.sha256)
    assert checked(base) == kept.path
    assert checked(None) is None


def test_a_base_that_is_gone_or_another_one(tmp_path: Path) -> None:
    kept, other = saved(tmp_path, 1), saved(tmp_path, 2)
    base = BaseModelFolder(name="verses", version=3, path=tmp_path / "none", sha256=kept.sha256)
    with pytest.raises(NotFoundError, match="verses:3 is not there any more"):
        checked(base)
    with pytest.raises(NotFoundError, match="verses:3 is not the one"):
        checked(base.model_copy(update={"path": other.path}))
