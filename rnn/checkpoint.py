"""Folders of safetensors and JSON that are either whole or not there, and are checked when read.

A folder is written under a temporary name beside its place, every file and the manifest fsynced,
then renamed, then its parent fsynced: a crash leaves a hidden temporary folder that nobody reads,
never half a checkpoint. The manifest holds each file's SHA-256; a reader hashes the very bytes that
it then parses. Nothing here is ever unpickled.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import safetensors.torch
import torch
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from rnn.classification.network import ClassificationNetwork
from rnn.classification.predictor import Classifier
from rnn.classification.reading import make_reader
from rnn.config import (
    BYTE_VOCABULARY_SIZE,
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
    TaskConfig,
)
from rnn.config.base import TextTokenizerName
from rnn.determinism import Randomness
from rnn.errors import CheckpointError
from rnn.forecasting.conformal import Conformal
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.paths import Dependence
from rnn.forecasting.predictor import Forecaster
from rnn.forecasting.shrinkage import Shrinkage
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.kernels.library import PRECISION_NUMBERS, Precision
from rnn.tokenizers import SavedTokenizer, WordTokenizer, text_tokenizer_from_json

FORMAT_VERSION = 1
Kind = Literal["checkpoint", "model"]
Predictor: TypeAlias = Forecaster | Classifier | Generator

_MANIFEST = "manifest.json"
_DESCRIPTION = "description.json"
_TENSORS = "tensors.safetensors"
_TOKENIZER = "tokenizer.json"

_CONFIGS: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)


@dataclass(frozen=True)
class Content:
    """What a folder holds: named tensors, plain values, and the tokens of a network for text."""

    kind: Kind
    config: TaskConfig
    values: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    tokenizer: SavedTokenizer | None = None

    @property
    def token_name(self) -> TextTokenizerName | None:
        """The kind of token that a language model or a classifier reads; None: a classifier's own
        words, or no text."""
        return _token_name(self.config, self.values)


def write(folder: Path, content: Content) -> None:
    """Writes a new folder atomically.

    Raises:
        CheckpointError: the folder is there already.
        OSError: as the disk says; nothing is left behind.
    """
    if folder.exists():
        raise CheckpointError(f"{folder.name} is there already")
    description = {
        "format_version": FORMAT_VERSION,
        "kind": content.kind,
        "config": content.config.model_dump(mode="json"),
        "values": dict(content.values),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in content.tensors.items()}
    files = {_DESCRIPTION: _json_bytes(description), _TENSORS: safetensors.torch.save(tensors)}
    if content.tokenizer is not None:
        files[_TOKENIZER] = content.tokenizer.to_json().encode()
    manifest = {
        "format_version": FORMAT_VERSION,
        "kind": content.kind,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
            for name, data in files.items()
        },
    }
    files[_MANIFEST] = _json_bytes(manifest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, data in files.items():
            _write_synced(temporary / name, data)
        _sync_folder(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(folder.parent)


def read(folder: Path, kind: Kind, device: str | torch.device = "cpu") -> Content:
    """Reads and checks a folder.

    Raises:
        CheckpointError: it is missing, torn, changed, of another kind or of an unknown format.
    """
    files = _checked_files(folder)
    description = _parsed_json(folder, _DESCRIPTION, files.get(_DESCRIPTION, b""))
    if description.get("kind") != kind:
        raise CheckpointError(f"{folder.name} is not a {kind}")
    try:
        config = _CONFIGS.validate_json(json.dumps(description["config"]))
        tensors = safetensors.torch.load(files[_TENSORS])
        tokenizer: SavedTokenizer | None = None
        if _TOKENIZER in files:
            text = files[_TOKENIZER].decode()
            name = _token_name(config, description["values"])
            tokenizer = (
                WordTokenizer.from_json(text)
                if name is None
                else text_tokenizer_from_json(name, text)
            )
        return Content(
            kind,
            config,
            description["values"],
            {name: tensor.to(device) for name, tensor in tensors.items()},
            tokenizer,
        )
    except (PydanticValidationError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{folder.name} cannot be read: {error}") from error


def verify(folder: Path) -> None:
    """Checks that every file of a folder is there, whole and unchanged.

    Raises:
        CheckpointError: naming the first file that is not.
    """
    _checked_files(folder)


def manifest_sha256(folder: Path) -> str:
    """The digest that stands for the whole folder, since the manifest holds every file's."""
    return hashlib.sha256(_read_file(folder, _MANIFEST)).hexdigest()


def load_model(folder: Path, device: str | torch.device = "cpu") -> Predictor:
    """The predictor that a finished training saved, in the precision that it was published for;
    without one, as before there were several, in float32.

    Raises:
        CheckpointError: the folder is not a whole model of a known format.
    """
    content = read(folder, "model")
    serving = content.values.get("serving", {"precision": "float32"})
    precision = serving.get("precision") if isinstance(serving, dict) else None
    if precision not in PRECISION_NUMBERS:
        raise CheckpointError(f"{folder.name} is for an unknown precision {precision!r}")
    try:
        return make_predictor(content, device, precision=precision)
    except CheckpointError as error:
        raise CheckpointError(f"{folder.name}: {error}") from error


def make_predictor(
    content: Content, device: str | torch.device = "cpu", *, precision: Precision = "float32"
) -> Predictor:
    """The predictor of a model's content.

    Raises:
        CheckpointError: the content is not that of a whole model.
    """
    randomness = Randomness(0, torch.device(device))  # its weights are replaced at once
    match content.config:
        case ForecastingConfig() as config:
            forecasting = ForecastingNetwork(config, randomness)
            _load_weights(forecasting, content, device)
            return Forecaster(
                config,
                forecasting,
                Conformal.from_values(content.values),
                Shrinkage.from_values(content.values),
                precision,
                Dependence.from_values(content.values),
            )
        case ClassificationConfig() as config:
            labels = content.values.get("labels")
            if not isinstance(labels, list):
                raise CheckpointError("it lacks its labels")
            reader = make_reader(content.token_name, content.tokenizer)
            classification = ClassificationNetwork(
                config, reader.vocabulary_size, len(labels), randomness
            )
            _load_weights(classification, content, device)
            temperature = float(content.values.get("temperature", 1.0))
            return Classifier(config, classification, reader, labels, temperature, precision)
        case GenerationConfig() as config:
            tokenizer = content.tokenizer
            if isinstance(tokenizer, WordTokenizer) or (
                tokenizer is None and config.data.tokenizer != "byte"
            ):
                raise CheckpointError("it lacks its tokens")
            size = tokenizer.vocabulary_size if tokenizer else BYTE_VOCABULARY_SIZE
            generation = GenerationNetwork(config, randomness, size)
            _load_weights(generation, content, device)
            return Generator(config, generation, tokenizer, precision)


def _token_name(config: TaskConfig, values: Mapping[str, Any]) -> TextTokenizerName | None:
    if isinstance(config, GenerationConfig):
        return config.data.tokenizer
    name: TextTokenizerName | None = values.get("tokenizer")
    return name


def _load_weights(network: nn.Module, content: Content, device: str | torch.device) -> None:
    try:
        network.load_state_dict(dict(content.tensors), strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights do not fit: {error}") from error
    network.to(device).eval()


def _checked_files(folder: Path) -> dict[str, bytes]:
    manifest = _parsed_json(folder, _MANIFEST, _read_file(folder, _MANIFEST))
    if manifest.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder.name} has format_version {manifest.get('format_version')!r}; "
            f"this program reads {FORMAT_VERSION}"
        )
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not listed:
        raise CheckpointError(f"{folder.name}: the manifest lists no files")
    files = {}
    for name, expected in listed.items():
        if name not in (_DESCRIPTION, _TENSORS, _TOKENIZER) or not isinstance(expected, dict):
            raise CheckpointError(f"{folder.name}: the manifest lists an unknown file {name!r}")
        data = _read_file(folder, name)
        if hashlib.sha256(data).hexdigest() != expected.get("sha256"):
            raise CheckpointError(f"{folder.name}/{name} is torn or was changed")
        files[name] = data
    return files


def _read_file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder.name}/{name} cannot be read: {error.strerror}") from error


def _parsed_json(folder: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise CheckpointError(f"{folder.name}/{name} is not JSON") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{folder.name}/{name} is not a JSON object")
    return value


def _json_bytes(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
