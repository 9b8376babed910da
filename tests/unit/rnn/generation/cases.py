"""Tiny language models of every kind, for the tests of their parts."""

from typing import Any

import torch

from rnn.config import GenerationConfig
from rnn.determinism import Randomness
from rnn.generation.network import GenerationNetwork

CPU = torch.device("cpu")
HEADS: list[dict[str, Any]] = [
    {},
    {"tied": True},
    {"tied": True, "embedding_size": 16},
    {"softmax": "mixture", "mixture_components": 3},
    {"softmax": "mixture", "mixture_components": 3, "tied": True},
    {"softmax": "adaptive"},
]


def config(
    architecture: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **training: Any
) -> GenerationConfig:
    return GenerationConfig.model_validate(
        {
            "task": "text-generation",
            "architecture": {
                "num_layers": 1,
                "hidden_size": 16,
                "embedding_size": 6,
                **(architecture or {}),
            },
            "training": {
                "max_epochs": 4,
                "batch_size": 4,
                "bptt_length": 12,
                "learning_rate": 0.02,
                **training,
            },
            "data": {"tokenizer": "word", "vocabulary_size": 300, **(data or {})},
        }
    )


def network(
    architecture: dict[str, Any] | None = None, *, vocabulary: int = 40, seed: int = 0
) -> GenerationNetwork:
    """In float64, with weights far from those that all tokens are alike to."""
    made = GenerationNetwork(config(architecture), Randomness(seed, CPU), vocabulary).double()
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.head.parameters():
            drawn = torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
            parameter.copy_(0.5 * drawn)
    return made
