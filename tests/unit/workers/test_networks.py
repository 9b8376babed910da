"""Rows that a network cannot answer say so, and their neighbours are answered."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rnn.checkpoint import load_model
from rnn.classification.predictor import Classifier
from rnn.generation.predictor import Generator
from service.batches.config import BATCH_CONFIGS
from service.datasets.limits import Limits
from service.datasets.profile import profile_file
from service.errors import ValidationError
from service.inference.requests import GenerationRequest
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION
from tests.unit.inference.test_decode import alone
from workers.messages import BaseModelFolder, Predict
from workers.networks import load_predictor
from workers.predictor import Answer, Predictor

Load = Callable[..., Predictor]


@pytest.fixture
def load(trained: Mapping[str, Path], tmp_path: Path) -> Load:
    def load(task: str, rows: list[dict[str, Any]], **options: Any) -> Predictor:
        path = tmp_path / "data"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        order = Predict(
            config=BATCH_CONFIGS.validate_python({"task": task, **options}),
            profile=profile_file(path, "data.jsonl", Limits()),
            dataset_path=path,
            log_path=tmp_path / "log",
            checkpoints_dir=tmp_path,
            checkpoints=[],
            base=BaseModelFolder(name="m", version=1, path=trained[task], sha256=""),
            device="cpu",
            checkpoint_interval_seconds=30,
            max_prompt_tokens=20,
            max_result_bytes=2**20,
        )
        return load_predictor(order)

    return load


def answers(predictor: Predictor) -> list[Answer]:
    found: list[Answer] = []
    for chunk in predictor.chunks(0):
        turns = predictor.answers(chunk)
        while True:
            try:
                next(turns)
            except StopIteration as end:
                found += end.value
                break
    assert len(found) == predictor.total
    assert {name for answer in found for name in answer} <= predictor.columns.keys()
    return found


SERIES = {"target_column": "target", "series_column": "id"}


def test_a_series_that_no_network_could_go_on(load: Load) -> None:
    """1e308 is a number that a data set may hold."""
    fine = [float(value % 4) for value in range(30)]
    rows = [{"id": name, "target": fine} for name in ("a", "c")]
    rows.insert(1, {"id": "b", "target": [1e308, -1e308] * 15})
    predictor = load(FORECASTING, rows, horizon=3, quantiles=[0.5], data=SERIES)
    first, bad, last = answers(predictor)
    assert bad == {
        "id": "b",
        "error": "the forecast of the series is not finite: its values are too large for the "
        "network",
    }
    assert (first["id"], last["id"]) == ("a", "c")
    assert first["mean"] == last["mean"]
    assert len(first["quantile_0.5"]) == 3


def test_a_text_that_is_empty(load: Load) -> None:
    rows = [{"text": "a warm film"}, {"text": ""}, {"text": "a cold mess"}]
    data = {"text_column": "text"}
    good, empty, bad = answers(load(CLASSIFICATION, rows, data=data))
    assert empty == {"row": 2, "error": "the text is empty"}
    assert (good["row"], good["label"], bad["row"], bad["label"]) == (1, "positive", 3, "negative")
    assert "score_positive" not in good
    scored = answers(load(CLASSIFICATION, rows, data=data, all_scores=True))[0]
    assert (
        scored["score"] == scored["score_positive"] == pytest.approx(1 - scored["score_negative"])
    )


def test_a_label_that_is_too_long_for_a_column(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    init = Classifier.__init__

    def long_labels(self: Classifier, *arguments: Any) -> None:
        init(self, *arguments)
        self.labels = ["x" * 195, "y"]

    monkeypatch.setattr(Classifier, "__init__", long_labels)
    rows, data = [{"text": "a warm film"}], {"text_column": "text"}
    load(CLASSIFICATION, rows, data=data)
    with pytest.raises(ValidationError, match="201 characters is too long"):
        load(CLASSIFICATION, rows, data=data, all_scores=True)


PROMPTS = {"data": {"text_column": "text"}, "max_new_tokens": 5, "seed": 3}


def test_a_prompt_that_is_too_long(load: Load) -> None:
    rows = [{"text": "the quick"}, {"text": "x" * 21}, {"text": ""}, {"text": "the quick"}]
    first, long, empty, last = answers(load(GENERATION, rows, **PROMPTS, temperature=0.0))
    assert long == {
        "row": 2,
        "error": "The prompt is too long: 21 tokens, the limit is 20.",
    }
    assert empty == {"row": 3, "error": "the text is empty"}
    assert first == {"row": 1, "text": first["text"], "finish_reason": "length"}
    assert last == {**first, "row": 4}


def test_every_row_is_drawn_with_a_seed_of_its_own(load: Load) -> None:
    rows = [{"text": "o"}] * 40
    options = {**PROMPTS, "temperature": 3.0}
    texts = [answer["text"] for answer in answers(load(GENERATION, rows, **options))]
    assert len(set(texts)) > 20
    later = answers(load(GENERATION, rows[:1], **{**options, "seed": 3 + 7}))
    assert later[0]["text"] == texts[7]


def test_the_likeliest_texts_are_searched_for(load: Load, trained: Mapping[str, Path]) -> None:
    """More beams than rows, too: a search needs a slot for each."""
    model = load_model(trained[GENERATION])
    assert isinstance(model, Generator)
    options = {"num_beams": 5, "length_penalty": 0.5, "stop": ["x"], "max_new_tokens": 12}
    prompts = ["the quick", "lazy dog"]
    for rows in ([{"text": prompts[0]}], [{"text": prompt} for prompt in prompts]):
        found = answers(load(GENERATION, rows, data=PROMPTS["data"], **options))
        for row, answer in zip(rows, found, strict=True):
            search = GenerationRequest(
                row["text"], 12, stop=("x",), num_beams=5, length_penalty=0.5
            )
            caller, generation = alone(search, model)
            assert answer["text"] == caller.text(generation)


def test_a_text_with_nul_can_be_stored(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nul:
        def push(self, token: int) -> str:  # noqa: ARG002 - whatever is drawn
            return "\0"

        def finish(self) -> str:
            return ""

    monkeypatch.setattr(Generator, "decoder", lambda *_: Nul())
    (answer,) = answers(load(GENERATION, [{"text": "o"}], **PROMPTS))
    assert answer["text"] == "\N{REPLACEMENT CHARACTER}" * 5


def test_a_defect_is_no_fault_of_a_row(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Generator, "step", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        answers(load(GENERATION, [{"text": "o"}], **PROMPTS))
