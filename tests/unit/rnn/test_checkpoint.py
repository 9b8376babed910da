"""Folders that are whole or refused."""

import json
import os
from pathlib import Path

import pytest
import torch

from rnn.checkpoint import Content, load_model, manifest_sha256, read, verify, write
from rnn.config import ClassificationConfig, GenerationArchitecture, GenerationConfig
from rnn.determinism import Randomness
from rnn.errors import CheckpointError
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator

CONFIG = GenerationConfig(
    task="text-generation",
    architecture=GenerationArchitecture(hidden_size=4, num_layers=1, embedding_size=3),
)


def content() -> Content:
    network = GenerationNetwork(CONFIG, Randomness(0, torch.device("cpu")))
    return Content("model", CONFIG, {}, network.state_dict())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    write(folder, content())
    return folder


def test_what_is_written_is_read_again(model: Path) -> None:
    verify(model)
    restored = read(model, "model")
    assert restored.config == CONFIG
    for name, tensor in content().tensors.items():
        assert torch.equal(restored.tensors[name], tensor)
    assert isinstance(load_model(model), Generator)


def test_only_json_and_safetensors_are_written(model: Path) -> None:
    assert sorted(path.suffix for path in model.iterdir()) == [".json", ".json", ".safetensors"]


def test_equal_content_gives_the_same_digest(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", content())
    assert manifest_sha256(model) == manifest_sha256(tmp_path / "again")


@pytest.mark.parametrize("name", ["tensors.safetensors", "description.json"])
def test_one_flipped_bit_is_found(model: Path, name: str) -> None:
    path = model / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for reader in (verify, load_model):
        with pytest.raises(CheckpointError, match=f"model/{name} is torn or was changed"):
            reader(model)


def test_a_cut_file_and_a_missing_file_are_found(model: Path) -> None:
    path = model / "tensors.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="torn"):
        verify(model)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        verify(model)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty/manifest\.json cannot be read"):
        verify(tmp_path / "empty")
    with pytest.raises(CheckpointError):
        manifest_sha256(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format_version": 1, "files": {}}'])
def test_a_broken_manifest_is_refused(model: Path, text: str) -> None:
    (model / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError):
        verify(model)


def test_a_later_format_is_refused_by_its_number(model: Path) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    (model / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(CheckpointError, match="99"):
        verify(model)


def test_a_manifest_cannot_point_outside_its_folder(model: Path) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["files"]["../../secret"] = {"sha256": "0" * 64}
    (model / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="unknown file"):
        verify(model)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    other = CONFIG.model_copy(
        update={"architecture": CONFIG.architecture.model_copy(update={"hidden_size": 5})}
    )
    write(tmp_path / "model", Content("model", other, {}, content().tensors))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_model(tmp_path / "model")


def test_a_checkpoint_is_not_a_model(tmp_path: Path) -> None:
    write(tmp_path / "step-1", Content("checkpoint", CONFIG, {}, content().tensors))
    with pytest.raises(CheckpointError, match="not a model"):
        load_model(tmp_path / "step-1")


def test_a_classifier_without_its_words_is_refused(tmp_path: Path) -> None:
    config = ClassificationConfig(task="text-classification")
    write(tmp_path / "model", Content("model", config, {"labels": ["a", "b"]}, {}))
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_model(tmp_path / "model")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "model", content())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_replaced(model: Path) -> None:
    before = manifest_sha256(model)
    with pytest.raises(CheckpointError, match="already"):
        write(model, Content("checkpoint", CONFIG, {}, {}))
    assert manifest_sha256(model) == before
