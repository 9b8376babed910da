"""What tokens add to labels, asked of the engine."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from rnn.checkpoint import load_model
from rnn.classification.predictor import Classifier
from service.errors import ValidationError
from service.inference.attributions import attribute_in_turns
from service.inference.engine import Engine
from service.inference.live_requests import LabelAnswer, LabelStep
from service.inference.messages import Attribute
from service.inference.requests import Attributions, Network, ServedVersion
from tests.serving import BAD, CLASSIFICATION, GOOD, served
from tests.unit.inference.test_engine import run

NETWORK = Network(Path(), "a" * 64)


@pytest.fixture
def reviews(trained: Mapping[str, Path]) -> ServedVersion:
    return served(trained[CLASSIFICATION], CLASSIFICATION)


@pytest.fixture
def classifier(trained: Mapping[str, Path]) -> Classifier:
    model = load_model(trained[CLASSIFICATION])
    assert isinstance(model, Classifier)
    return model


def finished(model: Classifier, request: Attribute) -> tuple[Attributions, int]:
    """The answer, and in how many turns."""
    turns, count = attribute_in_turns(model, request), 1
    while True:
        try:
            next(turns)
        except StopIteration as end:
            return end.value, count
        count += 1


def test_texts_are_attributed_as_each_alone(classifier: Classifier) -> None:
    texts, labels = [GOOD, "lovely", BAD], ["positive", "negative", "negative"]
    together, turns = finished(classifier, Attribute(1, NETWORK, texts, labels, 100))
    assert turns > len(texts)
    for text, label, found in zip(texts, labels, together.texts, strict=True):
        (alone,) = finished(classifier, Attribute(1, NETWORK, [text], [label], 100))[0].texts
        np.testing.assert_array_equal(found.added_t, alone.added_t)
        assert (found.label, found.gap) == (label, alone.gap)
        assert [text[start:end] for start, end in found.spans] == text.split()


def test_the_tokens_that_are_read_are_limited(classifier: Classifier) -> None:
    """Those beyond the model's own limit, 50, are not read."""
    long = "lovely " * 500
    found, _ = finished(classifier, Attribute(1, NETWORK, [long, "a"], ["positive"] * 2, 51))
    assert [len(each.spans) for each in found.texts] == [50, 1]
    with pytest.raises(ValidationError, match="more than 50 tokens") as caught:
        finished(classifier, Attribute(1, NETWORK, [long, "a"], ["positive"] * 2, 50))
    assert caught.value.faults[0].location == ("body", "attributions")


def test_others_are_served_between_its_turns(reviews: ServedVersion) -> None:
    """A session's step waits for one turn of one of them at most."""

    async def scenario(engine: Engine, version: ServedVersion) -> None:
        texts = ["lovely awful film " * 16] * 40
        long = [
            asyncio.create_task(
                engine.attribute(version, texts, ["positive"] * 40, max_tokens=2_000)
            )
            for _ in range(4)
        ]
        await engine.classify(version, ["a"])
        for _ in range(5):
            answer = await engine.advance(version, LabelStep(version.sha256, b"", GOOD))
            assert isinstance(answer, LabelAnswer)
            assert (await engine.look(version, answer.state)).length == 9
        assert not any(task.done() for task in long)
        for task in long:
            task.cancel()
        await asyncio.gather(*long, return_exceptions=True)
        assert engine.in_flight == 0

    run(reviews, scenario)


def test_it_changes_no_score(reviews: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        texts = [GOOD, BAD, "a film"]
        before = await engine.classify(version, texts)
        added = await engine.attribute(version, texts, ["positive"] * 3, max_tokens=100)
        after = await engine.classify(version, texts)
        np.testing.assert_array_equal(before.probabilities_bc, after.probabilities_bc)
        place = before.labels.index("positive")
        odds_b = [each.log_odds for each in added.texts]
        share_b = before.probabilities_bc[:, place]
        np.testing.assert_allclose(odds_b, np.log(share_b / (1 - share_b)), atol=0.05)

    run(reviews, scenario)
