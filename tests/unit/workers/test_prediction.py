"""The loop around a network that is played by `scripted.Lengths`."""

import io
import json
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.faults import scripted
from service.batches import parts
from service.batches.config import ClassificationBatch, TextColumns
from service.batches.rows import Chunk
from service.datasets.limits import Limits
from service.datasets.profile import profile_file
from service.errors import NotFoundError, ValidationError
from workers import trainer_control
from workers.messages import BaseModelFolder, KeptCheckpoint, Predict
from workers.prediction import predict
from workers.predictor import Answer
from workers.trainer_control import Reporter, TrainingControl

ROWS = 45


class Watched(scripted.Lengths):
    """Tells before each chunk how many rows come first."""

    before: Callable[[int], None] = staticmethod(lambda _first: None)

    def answers(self, chunk: Chunk[str | None]) -> Generator[None, None, list[Answer]]:
        self.before(chunk.first)
        return (yield from super().answers(chunk))


@pytest.fixture(autouse=True)
def _timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step takes time, and no checkpoint is due by itself."""
    monkeypatch.setattr(scripted, "SECONDS_A_STEP", 0.0)
    monkeypatch.setattr(trainer_control, "TRIAL_SECONDS", 3600.0)


@pytest.fixture
def order(tmp_path: Path) -> Predict:
    data = tmp_path / "data"
    data.write_text("".join(f'{{"text": "{"x" * (row % 7)}"}}\n' for row in range(1, ROWS + 1)))
    model = tmp_path / "model"
    scripted.save(model, {"step": 1, "weights": ""})
    digest = scripted.manifest_sha256(model)
    return Predict(
        config=ClassificationBatch(
            task="text-classification", data=TextColumns(text_column="text")
        ),
        profile=profile_file(data, "data.jsonl", Limits()),
        dataset_path=data,
        log_path=tmp_path / "log",
        checkpoints_dir=tmp_path / "job" / "attempt-1" / "checkpoints",
        checkpoints=[],
        base=BaseModelFolder(name="reviews", version=1, path=model, sha256=digest),
        device="cpu",
        checkpoint_interval_seconds=3600,
        max_prompt_tokens=100,
        max_result_bytes=2**20,
    )


def run(
    order: Predict,
    control: TrainingControl | None = None,
    before: Callable[[int], None] = lambda _first: None,
) -> list[dict[str, Any]]:
    """The reports of one attempt."""
    pipe, heard = io.BytesIO(), threading.Event()
    science = scripted.prepare()._replace(load_predictor=Watched)
    Watched.before = staticmethod(before)
    control = control or TrainingControl(order.checkpoint_interval_seconds)
    predict(order, science, control, Reporter(cast(Any, pipe)), heard)
    assert heard.is_set()
    return [json.loads(line) for line in pipe.getvalue().splitlines()]


def next_attempt(order: Predict, reports: list[dict[str, Any]]) -> Predict:
    """The order of the attempt after one that reported this."""
    saved = [report for report in reversed(reports) if report["type"] == "checkpoint"]
    kept = [KeptCheckpoint(step=s["step"], path=s["path"], sha256=s["sha256"]) for s in saved]
    folder = order.checkpoints_dir.parent.parent / "attempt-2" / "checkpoints"
    return order.model_copy(update={"checkpoints": kept[:2], "checkpoints_dir": folder})


def types(reports: list[dict[str, Any]]) -> list[str]:
    return [report["type"] for report in reports]


def result(reports: list[dict[str, Any]]) -> bytes:
    return Path(reports[-1]["path"]).read_bytes()


def test_a_whole_prediction(order: Predict) -> None:
    reports = run(order)
    assert types(reports) == [
        "resumed",
        "prediction_started",
        "rows",
        "checkpoint",
        "rows",
        "predicted",
    ]
    assert reports[1] | {"at": ""} == {
        "type": "prediction_started",
        "at": "",
        "rows": 0,
        "total_rows": ROWS,
        "failed_rows": 0,
    }
    last = reports[-1]
    assert (last["rows"], last["failed_rows"]) == (ROWS, ROWS // 7)
    assert last["size_bytes"] == len(result(reports))
    assert last["profile"]["rows"] == ROWS
    assert [json.loads(line)["row"] for line in result(reports).splitlines()] == [
        *range(1, ROWS + 1)
    ]


def test_a_stop_saves_the_chunks_that_are_whole(order: Predict) -> None:
    control = TrainingControl(3600)
    reports = run(order, control, lambda first: control.stop(save=True) if first == 21 else None)
    assert types(reports)[-3:] == ["checkpoint", "rows", "stopped"]
    assert reports[-3]["step"] == reports[-2]["rows"] == 20


def test_a_cancel_saves_nothing(order: Predict) -> None:
    control = TrainingControl(3600)
    reports = run(order, control, lambda first: control.stop(save=False) if first == 21 else None)
    assert "checkpoint" not in types(reports)
    assert reports[-1]["type"] == "stopped"
    assert not list(order.checkpoints_dir.iterdir())


def test_a_later_attempt_gives_the_same_bytes(order: Predict) -> None:
    whole = result(
        run(order.model_copy(update={"checkpoints_dir": Path(f"{order.checkpoints_dir}-w")}))
    )
    control = TrainingControl(0)  # a checkpoint is always due
    first = run(order, control, lambda first: control.stop(save=True) if first == 31 else None)
    steps = [report["step"] for report in first if report["type"] == "checkpoint"]
    assert steps == [10, 20, 30]
    second = run(next_attempt(order, first))
    assert (second[0]["used"], second[1]["rows"], second[1]["failed_rows"]) == (0, 30, 4)
    assert result(second) == whole
    assert second[-1]["failed_rows"] == ROWS // 7


def test_the_checkpoint_before_is_used_where_the_last_one_is_torn(order: Predict) -> None:
    control = TrainingControl(0)
    first = run(order, control, lambda first: control.stop(save=True) if first == 31 else None)
    (order.checkpoints_dir / "part-21-30.jsonl").unlink()
    second = run(next_attempt(order, first))
    assert (second[0]["used"], second[1]["rows"]) == (1, 20)
    assert "part-21-30.jsonl cannot be read" in second[0]["rejected"][0]["reason"]
    assert second[-1]["rows"] == ROWS


def test_an_attempt_after_the_last_row_only_joins(order: Predict) -> None:
    first = run(order)
    second = run(next_attempt(order, first), before=lambda first: pytest.fail(f"row {first} again"))
    assert types(second) == ["resumed", "prediction_started", "predicted"]
    assert result(second) == result(first)


def test_a_result_beyond_the_limit(order: Predict) -> None:
    with pytest.raises(ValidationError, match="first 20 rows has more than 400 bytes"):
        run(order.model_copy(update={"max_result_bytes": 400}))
    assert not list(order.checkpoints_dir.glob(".part-*"))


def test_the_limit_counts_what_earlier_attempts_wrote(order: Predict) -> None:
    control = TrainingControl(0)
    first = run(order, control, lambda first: control.stop(save=True) if first == 11 else None)
    (saved,) = [Path(report["path"]) for report in first if report["type"] == "checkpoint"]
    written = parts.read(saved).size_bytes
    with pytest.raises(ValidationError, match="first 20 rows"):
        run(next_attempt(order, first).model_copy(update={"max_result_bytes": written + 1}))


def test_another_model_in_the_folder(order: Predict) -> None:
    other = order.base.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(NotFoundError, match="reviews:1 is not the one"):
        run(order.model_copy(update={"base": other}))
