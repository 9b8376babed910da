"""The networks: trained for a moment over HTTP, so that they are served as every other one,
and written once more for the peers.

What they have learned is not judged here, so a few steps are enough: their weights are those of a
network, not of an initialisation, and the answers of all candidates can be compared.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.data import penn_treebank, sst2, tinyshakespeare
from benchmarks.kernels.networks import CPU, torch_lstm
from benchmarks.quality.series import m4_upload
from benchmarks.quality.texts import labelled_upload
from benchmarks.service import Run, Service
from rnn import checkpoint
from rnn.classification.network import ClassificationNetwork
from rnn.config import QUANTILE_LEVELS, ClassificationConfig, ForecastingConfig, GenerationConfig
from rnn.determinism import Randomness
from rnn.forecasting.heads import DirectHead
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.windows import WindowShape
from rnn.generation.network import GenerationNetwork
from rnn.stack import RecurrentStack
from rnn.tokenizers import WordTokenizer

CONTEXT, HORIZON, SEASON = 168, 24, 24
ASKED_LEVELS = ("0.1", "0.5", "0.9")  # what a forecast answers with when nothing is said
TRAINED_CHARACTERS = 100_000

CHOICES: dict[str, dict[str, Any]] = {
    "generation": {
        "task": "text-generation",
        "architecture": {"num_layers": 2, "hidden_size": 512, "embedding_size": 256},
        "training": {"max_steps": 40, "batch_size": 16, "bptt_length": 64},
    },
    "words": {
        "task": "text-generation",
        "architecture": {"num_layers": 3, "hidden_size": 1_150, "embedding_size": 400},
        "training": {"max_steps": 8, "batch_size": 16, "bptt_length": 32},
        "data": {"tokenizer": "word", "vocabulary_size": 10_000, "validation_fraction": 0.005},
    },
    "sentiment": {
        "task": "text-classification",
        "architecture": {
            "num_layers": 2,
            "hidden_size": 256,
            "embedding_size": 128,
            "pooling": "concatenated",
        },
        "training": {"max_steps": 40},
    },
    "forecasts": {
        "task": "time-series-forecasting",
        "architecture": {"num_layers": 2, "hidden_size": 128},
        "training": {"max_steps": 40},
        "data": {"context_length": CONTEXT, "horizon": HORIZON, "season_length": SEASON},
    },
}


def trained(service: Service, data: Path, tasks: list[str], folder: Path) -> dict[str, str]:
    """Publishes a model of each task under the task's name, in float32 as all peers compute, and
    leaves its files in a folder of that name; then the same again, under `chosen_name`, in the
    precision that the product chooses, which is returned by task."""
    precisions = {}
    for task in tasks:
        dataset = service.upload(*_upload(task, data))
        chosen = {**CHOICES[task], "device": "cpu"}
        kind = chosen.pop("task")
        run = Run(task)
        service.train(run, dataset, kind, serving={"precision": "float32"}, **chosen)
        model = folder / task
        model.mkdir(parents=True)
        path = f"/models/{run.job['model']}/versions/{run.job['version']}"
        for file in service.http.get(path).json()["files"]:
            answer = service.http.get(f"{path}/files/{file['name']}")
            answer.raise_for_status()
            (model / file["name"]).write_bytes(answer.content)
        run = Run(chosen_name(task))
        service.train(run, dataset, kind, **chosen)
        path = f"/models/{run.job['model']}/versions/{run.job['version']}"
        precisions[task] = service.http.get(path).json()["serving"]["precision"]
    return precisions


def chosen_name(task: str) -> str:
    """Of the model whose precision the product chose."""
    return f"{task}-chosen"


def _upload(task: str, data: Path) -> tuple[str, bytes]:
    match task:
        case "generation":
            return "text.txt", tinyshakespeare(data)[:TRAINED_CHARACTERS].encode()
        case "words":
            lines = penn_treebank(data, "train")
            return "treebank.txt", "\n".join(lines).encode()
        case "sentiment":
            return "sentences.jsonl", labelled_upload(sst2(data, "train"))
        case _:
            return "hourly.jsonl", m4_upload(data)


def written_for_peers(models: Path, task: str, folder: Path) -> None:
    """Weights under the names of torch's own modules, and what else a peer must know."""
    content = checkpoint.read(models / task, "model")
    randomness = Randomness(0, CPU)
    match content.config:
        case GenerationConfig() as config:
            vocabulary = len(content.tensors["embedding.weight"])
            generation = GenerationNetwork(config, randomness, vocabulary)
            generation.load_state_dict(dict(content.tensors))
            head = generation.head.linear()
            assert head is not None
            tensors = {"embedding.weight": generation.embedding.weight, **_linear("out", head)}
            said = {} if content.tokenizer is None else json.loads(content.tokenizer.to_json())
            tensors |= _lstm(generation.stack)
            _write(folder, task, tensors, config.architecture, said)
        case ClassificationConfig() as config:
            assert isinstance(content.tokenizer, WordTokenizer)
            labels = content.values["labels"]
            size = content.tokenizer.vocabulary_size
            classifier = ClassificationNetwork(config, size, len(labels), randomness)
            classifier.load_state_dict(dict(content.tensors))
            with torch.no_grad():  # what calibrates the scores is a part of the peers' weights
                for parameter in classifier.head.out.parameters():
                    parameter.div_(float(content.values.get("temperature", 1.0)))
            tensors = {
                "embedding.weight": classifier.embedding.weight,
                **_linear("out", classifier.head.out),
                **_lstm(classifier.stack),
            }
            said = {"labels": labels, "max_tokens": config.data.max_tokens}
            _write(folder, task, tensors, config.architecture, said)
            (folder / "tokenizer.json").write_text(content.tokenizer.to_json(), encoding="utf-8")
        case ForecastingConfig() as config:
            forecaster = ForecastingNetwork(config, randomness)
            forecaster.load_state_dict(dict(content.tensors))
            direct = forecaster.head
            assert isinstance(direct, DirectHead)
            tensors = {
                "distance_hw": direct.distance_hw,
                **_linear("read", direct.context),
                **_linear("future", direct.future),
                **_linear("mixed", direct.mixed),
                **_linear("out", direct.out),
                **_lstm(forecaster.stack),
            }
            shape = WindowShape.of(config.data)
            said = {
                "context": shape.context_length,
                "history": shape.history_length,
                "horizon": shape.horizon,
                "lag": shape.season_length,
                "lags": shape.lags_hn.tolist(),
                "inputs": shape.input_features,
                "levels": {level: QUANTILE_LEVELS.index(float(level)) for level in ASKED_LEVELS},
            }
            _write(folder, task, tensors, config.architecture, said)


def _lstm(stack: RecurrentStack) -> dict[str, Tensor]:
    return {f"lstm.{name}": value for name, value in torch_lstm(stack).state_dict().items()}


def _linear(name: str, layer: torch.nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{part}": value for part, value in layer.state_dict().items()}


def _write(
    folder: Path, task: str, tensors: dict[str, Tensor], architecture: Any, said: dict[str, Any]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()},
        folder / f"{task}.safetensors",
    )
    sizes = {"num_layers": architecture.num_layers, "hidden_size": architecture.hidden_size}
    (folder / f"{task}.json").write_text(json.dumps({**said, **sizes}), encoding="utf-8")
