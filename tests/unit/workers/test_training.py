import io
import json
from pathlib import Path
from typing import Any, cast

from tests.integration import scripted
from workers.messages import KeptCheckpoint, Train
from workers.trainer_control import Reporter
from workers.training import choose_checkpoint


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
