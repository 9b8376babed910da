"""Answers of predictors: limits, order, batches equal to each input alone."""

import numpy as np
import pytest
import torch

from rnn.classification.network import ClassificationNetwork
from rnn.classification.predictor import Classifier
from rnn.config import ClassificationConfig
from rnn.determinism import Randomness
from rnn.tokenizers import WordTokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    config = ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {"hidden_size": 6, "embedding_size": 5},
            "data": {"max_tokens": 12},
        }
    )
    tokenizer = WordTokenizer.learn(["a b c d e f"], vocabulary_size=50, min_frequency=1)
    network = ClassificationNetwork(config, tokenizer.vocabulary_size, 3, Randomness(0, CPU))
    return Classifier(config, network, tokenizer, ["x", "y", "z"])


def test_texts_in_a_batch_equal_each_alone_in_their_order(classifier: Classifier) -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("abcdefg"), size=size)) for size in range(1, 90)]
    random.shuffle(texts)
    together = classifier.classify(texts)
    np.testing.assert_allclose(together.probabilities_bc.sum(axis=1), 1)
    for row in (0, 17, 88):
        alone = classifier.classify([texts[row]])
        np.testing.assert_array_equal(together.probabilities_bc[row], alone.probabilities_bc[0])


def test_cut_and_unknown_texts_are_flagged(classifier: Classifier) -> None:
    result = classifier.classify(["a b c", "a " * 13, "雪 雪", ""])
    assert result.truncated == [False, True, False, False]
    assert result.known_share == [1, 1, 0, 0]


def test_no_texts_give_no_answers(classifier: Classifier) -> None:
    assert classifier.classify([]).probabilities_bc.shape == (0, 3)
