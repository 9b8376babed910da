"""Classifiers of characters, bytes and pieces of words, on texts without spaces."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from rnn.config import ClassificationConfig
from rnn.data.examples import TextExamples
from rnn.events import Finished
from rnn.resolve import resolve
from rnn.train import train
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Workspace
from service.settings import Settings
from tests.api.conftest import problem
from tests.api.job_requests import submit, upload
from tests.api.test_sessions import ask, create, step
from tests.serving import CLASSIFICATION, Unhurried, publish

TOKENIZERS = ["character", "byte", "bpe"]
GOOD, BAD = "我很喜欢这部电影", "我非常讨厌这个故事"
LABELS = {"counts": {"good": 60, "bad": 60}, "splits": None, "median_tokens": 1}
TABLE = "text,label\n" + f"{GOOD},good\n{BAD},bad\n" * 40


def train_on(tokenizer: str, folder: Path) -> Path:
    torch.set_num_threads(1)
    config = ClassificationConfig.model_validate(
        {
            "task": CLASSIFICATION,
            "architecture": {"hidden_size": 12, "embedding_size": 12},
            "training": {"max_steps": 60, "batch_size": 16, "learning_rate": 0.02},
            "data": {"tokenizer": tokenizer, "vocabulary_size": 300, "max_tokens": 40},
        }
    )
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list((GOOD, BAD)[i % 2]), size=8)) for i in range(120)]
    examples = TextExamples(texts, ["good", "bad"] * 60, None)
    resolved = resolve(config, {"labels": LABELS})
    *_, last = train(resolved, examples, device="cpu", control=Unhurried(), resume=None)
    assert isinstance(last, Finished)
    last.save(folder)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("tokens")
    return {name: train_on(name, root / name) for name in TOKENIZERS}


@pytest.fixture
def published(
    folders: Mapping[str, Path], database: Database, settings: Settings, workspace: Workspace
) -> None:
    artifacts = ArtifactStore(settings.artifact_dir)
    for name, folder in folders.items():
        publish(database, artifacts, workspace.id, name, CLASSIFICATION, folder)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("model", TOKENIZERS)
def test_the_answer(client: TestClient, headers: dict[str, str], model: str) -> None:
    asked = {"model": model, "texts": [GOOD, BAD, GOOD * 9], "attributions": True}
    good, bad, long = ask(client, headers, "sentiment", **asked)["results"]
    assert (good["label"], bad["label"]) == ("good", "bad")
    assert (good["truncated"], long["truncated"]) == (False, True)
    assert good["known_share"] == 1
    for result, text in ((good, GOOD), (bad, BAD)):
        tokens = result["attributions"]["tokens"]
        assert [text[each["start"] : each["end"]] for each in tokens] == [
            each["text"] for each in tokens
        ]
        covered = {place for each in tokens for place in range(each["start"], each["end"])}
        assert covered == set(range(len(text)))
    if model == "character":
        assert [each["text"] for each in good["attributions"]["tokens"]] == list(GOOD)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("model", "known_share"), [("character", 0.5), ("byte", 1), ("bpe", 1)])
def test_the_share_that_is_known(
    client: TestClient, headers: dict[str, str], model: str, known_share: float
) -> None:
    """Every text can be written in bytes."""
    (found,) = ask(client, headers, "sentiment", model=model, text="我☃我☃")["results"]
    assert found["known_share"] == known_share


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("model", TOKENIZERS)
def test_a_text_that_arrives_in_pieces(
    client: TestClient, headers: dict[str, str], model: str
) -> None:
    path, text = create(client, headers, model), GOOD + BAD * 2
    for end in range(3, len(text) + 1, 3):
        answer = step(client, headers, path, text=text[end - 3 : end], all_scores=True)["result"]
        assert answer.pop("tokens") > 0
        asked = {"model": model, "text": text[:end], "all_scores": True}
        (expected,) = ask(client, headers, "sentiment", **asked)["results"]
        assert answer == expected


@pytest.mark.parametrize(
    ("data", "tokenizer", "max_tokens"),
    [
        ({}, "word", 512),
        ({"tokenizer": "character"}, "character", 3072),
        ({"tokenizer": "byte", "max_tokens": 100}, "byte", 100),
        ({"tokenizer": "bpe"}, "bpe", 768),
    ],
)
def test_a_job(
    client: TestClient,
    headers: dict[str, str],
    data: dict[str, Any],
    tokenizer: str,
    max_tokens: int,
) -> None:
    dataset = upload(client, headers, "reviews.csv", TABLE)
    job = submit(client, headers, dataset, task=CLASSIFICATION, data=data)
    found = job["config"]["data"]
    assert (found["tokenizer"], found["max_tokens"]) == (tokenizer, max_tokens)


@pytest.mark.parametrize(
    ("data", "location", "message"),
    [
        ({"tokenizer": "bpe", "vocabulary_size": 259}, "body.data", "bpe needs 260 tokens"),
        ({"tokenizer": "char"}, "body.data.tokenizer", "'character'"),
        ({"tokenizer": 7}, "body.data.tokenizer", "'character'"),
    ],
)
def test_a_job_that_is_refused(
    client: TestClient,
    headers: dict[str, str],
    data: dict[str, Any],
    location: str,
    message: str,
) -> None:
    dataset = upload(client, headers, "reviews.csv", TABLE)
    body = {"task": CLASSIFICATION, "dataset": dataset, "data": data}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")
    (fault,) = response.json()["errors"]
    assert fault["location"] == location
    assert message in fault["message"]
