"""POST /api/v1/generations on language models of words and of pieces of words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from rnn.config import GenerationConfig
from rnn.data.examples import CorpusExamples
from rnn.events import Finished
from rnn.resolve import resolve
from rnn.train import train
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Workspace
from service.settings import Settings
from tests.api.test_generations import PATH, ask, events_of
from tests.serving import GENERATION, LINE, Unhurried, publish

WORDS = LINE.replace("lazy", "läzy")


def train_on(tokenizer: str, folder: Path) -> Path:
    torch.set_num_threads(1)
    config = GenerationConfig.model_validate(
        {
            "task": GENERATION,
            "architecture": {
                "hidden_size": 32,
                "embedding_size": 16,
                "num_layers": 1,
                "dropout": 0.0,
                "tied": True,
            },
            "training": {
                "max_steps": 250,
                "max_epochs": 100,
                "batch_size": 4,
                "bptt_length": 16,
                "learning_rate": 0.03,
                "early_stopping_patience": None,
            },
            "data": {"tokenizer": tokenizer, "vocabulary_size": 300},
        }
    )
    data = np.frombuffer((WORDS * 80).encode(), dtype=np.uint8)
    resolved = resolve(config, {"text": {"bytes": len(data)}})
    *_, last = train(resolved, CorpusExamples(data), device="cpu", control=Unhurried(), resume=None)
    assert isinstance(last, Finished)
    last.save(folder)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("tokens")
    return {name: train_on(name, root / name) for name in ("character", "word", "bpe")}


@pytest.fixture(autouse=True)
def published(
    folders: Mapping[str, Path], database: Database, settings: Settings, workspace: Workspace
) -> None:
    artifacts = ArtifactStore(settings.artifact_dir)
    for name, folder in folders.items():
        publish(database, artifacts, workspace.id, name, GENERATION, folder)


def text(answer: Any) -> str:
    return str(answer["choices"][0]["text"])


def test_words_are_joined_with_spaces_and_line_breaks(
    client: TestClient, headers: dict[str, str]
) -> None:
    start = WORDS + "the quick"
    asked: dict[str, Any] = {"model": "word", "temperature": 0, "max_new_tokens": 9}
    answer = ask(client, headers, **asked, prompt=start)
    assert text(answer) == " brown fox jumps over the läzy dog\nthe"
    assert answer["usage"] == {"prompt_tokens": 12, "cached_tokens": 0, "completion_tokens": 9}
    assert text(ask(client, headers, **asked, prompt=start + " ")) == text(answer)[1:]


@pytest.mark.parametrize("model", ["character", "word", "bpe"])
def test_what_was_learned_goes_on(client: TestClient, headers: dict[str, str], model: str) -> None:
    prompt = WORDS + "the quick brown"
    answer = ask(client, headers, model=model, temperature=0, prompt=prompt, max_new_tokens=30)
    assert len(text(answer)) >= 30
    assert (WORDS * 10).startswith(prompt + text(answer))


@pytest.mark.parametrize("model", ["character", "word", "bpe"])
def test_streamed_equals_whole(client: TestClient, headers: dict[str, str], model: str) -> None:
    asked: dict[str, Any] = {
        "model": model,
        "prompt": "the quick",
        "temperature": 2.0,
        "top_k": 250,
        "seed": 3,
        "n": 2,
    }
    whole = ask(client, headers, **asked, max_new_tokens=60)
    body = {**asked, "max_new_tokens": 60, "stream": True}
    response = client.post(PATH, json=body, headers=headers)
    *tokens, (last, done) = events_of(response.text)
    assert last == "done"
    assert done["usage"] == whole["usage"] | {"cached_tokens": done["usage"]["prompt_tokens"]}
    for choice in whole["choices"]:
        pieces = [data["text"] for _, data in tokens if data["index"] == choice["index"]]
        assert "".join(pieces) == choice["text"]


def test_a_stop_string_may_span_words(client: TestClient, headers: dict[str, str]) -> None:
    answer = ask(
        client,
        headers,
        model="word",
        temperature=0,
        prompt=WORDS + "the quick",
        stop=["over the"],
        max_new_tokens=30,
    )
    assert text(answer) == " brown fox jumps "
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("prompt", ["zebras ☃ snore", " ", "\n"])
@pytest.mark.parametrize("model", ["character", "word", "bpe"])
def test_a_prompt_of_nothing_known_is_continued(
    client: TestClient, headers: dict[str, str], model: str, prompt: str
) -> None:
    answer = ask(client, headers, model=model, prompt=prompt, max_new_tokens=5)
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["usage"]["prompt_tokens"] >= 1


def test_log_probabilities_are_of_the_model_s_tokens(
    client: TestClient, headers: dict[str, str]
) -> None:
    answer = ask(
        client,
        headers,
        model="word",
        temperature=0,
        logprobs=0,
        prompt=WORDS + "the",
        max_new_tokens=9,
    )
    drawn = answer["choices"][0]["logprobs"]
    assert len({each["token"] for each in drawn}) == 9
    assert sum(each["logprob"] for each in drawn) > -3
