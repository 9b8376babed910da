"""The classification network and its predictor: convolution, dropouts, every pooling."""

from typing import Any, get_args

import numpy as np
import pytest
import torch

from rnn.classification.network import ClassificationNetwork
from rnn.classification.padding import pad_tokens
from rnn.classification.predictor import Classifier
from rnn.classification.resolve import classification_parameters
from rnn.config import ClassificationConfig
from rnn.config.classification import PoolingName
from rnn.determinism import Randomness
from rnn.tokenizers import WordTokenizer
from rnn.train import parameter_count

CONVOLUTION = {"num_layers": 2, "channels": 7, "kernel_size": 3, "pooling": 2}


def configured(**architecture: Any) -> ClassificationConfig:
    return ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {"hidden_size": 6, "embedding_size": 5, **architecture},
            "data": {"vocabulary_size": 20},
        }
    )


def network(config: ClassificationConfig) -> ClassificationNetwork:
    built = ClassificationNetwork(config, 20, 3, Randomness(0, torch.device("cpu")))
    for parameter in built.parameters():  # zeros would hide what is read
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.5)
    return built


ARCHITECTURES: list[dict[str, Any]] = [
    *({"pooling": pooling} for pooling in get_args(PoolingName)),
    {"convolution": CONVOLUTION},
    {"convolution": CONVOLUTION, "pooling": "attention", "bidirectional": False},
    {"num_layers": 2, "layer_norm": True, "pooling": "attention"},
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_parameters_are_counted_without_building(architecture: dict[str, Any]) -> None:
    config = configured(**architecture)
    assert parameter_count(network(config)) == classification_parameters(config, 3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_predictor_answers_as_the_network_does(architecture: dict[str, Any]) -> None:
    """Each text alone, and in batches with longer ones, over the temperature."""
    config = configured(**architecture)
    built = network(config).eval()
    tokenizer = WordTokenizer.learn(
        ["a b c d e f g h i j k l m n o p q r"], vocabulary_size=20, min_frequency=1
    )
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("abcdefgh"), n)) for n in (1, 9, 2, 30, 4, 17)]
    found = Classifier(config, built, tokenizer, ["x", "y", "z"], temperature=2.5).classify(texts)
    for text, row_c in zip(texts, found.probabilities_bc, strict=True):
        encoded = tokenizer.encode([text], max_tokens=512)[0]
        with torch.inference_mode():
            logits_bc = built(*pad_tokens([encoded.tokens]))
        np.testing.assert_allclose(row_c, (logits_bc[0] / 2.5).softmax(0), atol=1e-5)


def test_embedding_dropout_leaves_out_whole_words() -> None:
    built = network(configured(embedding_dropout=0.4, input_dropout=0.0))
    tokens_bt = torch.randint(0, 20, (50, 40), generator=torch.Generator().manual_seed(0))
    lengths_b = torch.full((50,), 40)
    whole_btd = built.embedding(tokens_bt)
    dropped_btd, _ = built.train().stack_inputs(tokens_bt, lengths_b)
    kept_bt = dropped_btd.ne(0).all(dim=2)
    assert torch.equal(kept_bt, dropped_btd.ne(0).any(dim=2))
    torch.testing.assert_close(dropped_btd[kept_bt], whole_btd[kept_bt] / 0.6)
    assert kept_bt.double().mean().item() == pytest.approx(0.6, abs=0.03)
    same_btd, _ = built.eval().stack_inputs(tokens_bt, lengths_b)
    assert torch.equal(same_btd, whole_btd)


def test_output_dropout_is_of_the_texts_vector_alone() -> None:
    built = network(configured(output_dropout=0.9, input_dropout=0.0, dropout=0.0)).train()
    tokens_bt, lengths_b = torch.ones(4, 5, dtype=torch.long), torch.full((4,), 5)
    x_btd, _ = built.stack_inputs(tokens_bt, lengths_b)
    torch.testing.assert_close(built.stack(x_btd)[0], built.stack.eval()(x_btd)[0])
    pooled_bh = torch.ones(200, built.head.pooling.output_size)
    assert built.head.dropout(pooled_bh).ne(0).double().mean().item() == pytest.approx(
        0.1, abs=0.02
    )
