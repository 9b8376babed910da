"""What tokens add sums to the score, whatever the network, and is what it should be where that is
known."""

from collections.abc import Generator
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from rnn.classification.attribution import (
    LARGEST_GAP,
    MOST_PIECES,
    TIMESTEPS_PER_TURN,
    Attribution,
    Score,
    integrated_gradients,
)
from rnn.classification.network import ClassificationNetwork
from rnn.classification.predictor import Classifier
from rnn.config import ClassificationConfig
from rnn.config.classification import PoolingName
from rnn.determinism import Randomness
from rnn.tokenizers import EncodedText, WordTokenizer
from tests.unit.rnn.stacks import CELLS, disturb

WORDS = WordTokenizer.learn(["a b c d e f g h"], vocabulary_size=20, min_frequency=1)
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **CELLS,
    **{pooling: {"pooling": pooling} for pooling in get_args(PoolingName)},
    "one direction": {"bidirectional": False, "pooling": "last", "num_layers": 3},
    "convolution": {"convolution": {"channels": 7, "kernel_size": 3, "pooling": 2}},
    "dense": {"dense": True, "pre_norm": True, "num_layers": 2},
}


def make(name: str = "lstm", labels: int = 3, **architecture: Any) -> Classifier:
    config = ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {
                **{"hidden_size": 8, "embedding_size": 5, "num_heads": 2},
                **ARCHITECTURES[name],
                **architecture,
            },
        }
    )
    network = ClassificationNetwork(
        config, WORDS.vocabulary_size, labels, Randomness(0, torch.device("cpu"))
    )
    disturb(network)
    with torch.no_grad():
        network.embedding.weight.mul_(3)
    return Classifier(config, network, WORDS, list("xyz")[:labels], temperature=0.8)


def finished(turns: Generator[None, None, Attribution]) -> tuple[Attribution, int]:
    """The attribution, and in how many turns."""
    count = 1
    while True:
        try:
            next(turns)
        except StopIteration as end:
            return end.value, count
        count += 1


def attribute(model: Classifier, text: str, label: int) -> Attribution:
    (encoded,) = model.encode([text])
    return finished(model.attribute(encoded, label))[0]


def log_odds(model: Classifier, text: str, label: int) -> float:
    share = float(model.classify([text]).probabilities_bc[0, label])
    return float(np.log(share / (1 - share)))


def test_of_a_linear_score_each_token_adds_its_own_part() -> None:
    x_td, weight_td = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).unbind()
    found, _ = finished(
        integrated_gradients(lambda x_btd: (x_btd * weight_td).sum((1, 2)) + 2.5, x_td)
    )
    own_t = (x_td * weight_td).sum(1)
    np.testing.assert_allclose(found.added_t, own_t, rtol=1e-5, atol=1e-6)
    assert found.baseline == 2.5
    assert found.score == pytest.approx(2.5 + float(own_t.sum()), abs=1e-5)
    assert abs(found.gap) < 1e-5


def test_of_a_product_each_factor_adds_half() -> None:
    """The gradient at the text alone would give each the whole product."""
    x_td = torch.tensor([[3.0], [5.0], [0.0]])
    found, _ = finished(integrated_gradients(lambda x_btd: x_btd[:, 0, 0] * x_btd[:, 1, 0], x_td))
    np.testing.assert_allclose(found.added_t, [7.5, 7.5, 0], atol=1e-5)
    assert found.baseline == 0


def test_where_a_score_bends_more_points_are_taken() -> None:
    asked: list[int] = []

    def bent(x_btd: Tensor) -> Tensor:
        asked.append(len(x_btd))
        total_b = x_btd.sum((1, 2))
        return 30 * torch.relu(total_b - 0.7317 * 2)

    found, _ = finished(integrated_gradients(bent, torch.ones(2, 1)))
    allowed = LARGEST_GAP * 60 * (1 - 0.7317)
    assert abs(found.gap) <= allowed
    assert sum(asked) > 17
    np.testing.assert_allclose(found.added_t, 30 * (1 - 0.7317), atol=allowed)


def test_a_score_that_jumps_costs_no_more_than_allowed_and_says_what_is_missing() -> None:
    asked: list[int] = []

    def jumping(x_btd: Tensor) -> Tensor:
        asked.append(len(x_btd))
        total_b = x_btd.sum((1, 2))
        return total_b + 7 * (total_b > 0.4).float()

    found, _ = finished(integrated_gradients(jumping, torch.ones(1, 1)))
    assert found.gap == pytest.approx(7, abs=1e-4)
    assert sum(asked) <= 5 * MOST_PIECES


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_tokens_add_sums_to_the_log_odds(name: str) -> None:
    model, random = make(name), np.random.default_rng(0)
    for length, label in ((1, 0), (6, 1), (20, 2)):
        text = " ".join(random.choice(list("abcdefghq"), length))
        found = attribute(model, text, label)
        assert found.added_t.shape == (length,)
        assert abs(found.gap) <= LARGEST_GAP * max(1, abs(found.score - found.baseline))
        assert found.score == pytest.approx(log_odds(model, text, label), abs=1e-4)


def test_the_baseline_is_a_text_of_zero_vectors() -> None:
    model = make()
    found = attribute(model, "a b c", 1)
    with torch.no_grad():
        model._network.embedding.weight.zero_()
        logits_c = model._network(torch.tensor([[2, 3, 4]]), torch.tensor([3]))[0].double() / 0.8
    expected = logits_c[1] - logits_c[[0, 2]].logsumexp(0)
    assert found.baseline == pytest.approx(float(expected), abs=1e-5)


def test_what_speaks_for_one_of_two_labels_speaks_against_the_other() -> None:
    model = make(labels=2)
    for_x, for_y = (attribute(model, "a b c h", label) for label in (0, 1))
    np.testing.assert_allclose(for_x.added_t, -for_y.added_t, atol=1e-6)
    assert np.abs(for_x.added_t).max() > 0.05


def test_a_word_that_the_network_does_not_look_at_adds_nothing() -> None:
    """Sensitivity, as the method promises."""
    model = make(bidirectional=False, pooling="last")
    with torch.no_grad():
        model._network.embedding.weight[WORDS.tokens("c")[0]] = 0
    assert attribute(model, "a b c d", 0).added_t[2] == 0


def test_it_is_the_same_where_gradients_are_off() -> None:
    """As they are in the engine."""
    model = make()
    expected = attribute(model, "a b c d e", 2)
    with torch.inference_mode():
        found = attribute(model, "a b c d e", 2)
    np.testing.assert_array_equal(found.added_t, expected.added_t)


def test_scores_are_the_same_bits_after_it() -> None:
    model = make("gru")
    before = model.classify(["a b c d", "h g"]).probabilities_bc
    attribute(model, "a b c d", 0)
    np.testing.assert_array_equal(model.classify(["a b c d", "h g"]).probabilities_bc, before)


def test_a_turn_is_short() -> None:
    read: list[int] = []

    def slow(x_btd: Tensor) -> Tensor:
        read.append(x_btd.shape[0] * x_btd.shape[1])
        return x_btd.sum((1, 2))

    score: Score = slow
    for length in (1, 100, TIMESTEPS_PER_TURN, 3 * TIMESTEPS_PER_TURN):
        read.clear()
        _, turns = finished(integrated_gradients(score, torch.ones(length, 2)))
        assert turns == len(read)
        assert max(read) <= max(TIMESTEPS_PER_TURN, length)


def test_a_text_without_words_is_one_token_that_is_all_of_it() -> None:
    model = make()
    assert model.spans("  ") == [(0, 2)]
    assert attribute(model, "  ", 0).added_t.shape == (1,)


@pytest.mark.parametrize(
    ("truncation", "read"), [("start", "abc"), ("end", "fgh"), ("both", "abh")]
)
def test_the_places_are_those_of_the_tokens_that_are_read(truncation: str, read: str) -> None:
    model = make()
    data = model.config.data.model_copy(update={"max_tokens": 3, "truncation": truncation})
    model.config = model.config.model_copy(update={"data": data})
    text = "a b c d e f g h"
    encoded: EncodedText = model.encode([text])[0]
    assert encoded.truncated
    assert [text[start:end] for start, end in model.spans(text)] == list(read)
    assert encoded.tokens == [WORDS.tokens(word)[0] for word in read]
