"""Rows of many requests in one batch: who gets what, and that nobody notices the others."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rnn.checkpoint import load_model
from rnn.classification.predictor import Classifier
from rnn.errors import InputMismatchError
from rnn.forecasting.covariates import SeriesCovariates
from rnn.forecasting.decoding import PATHS
from rnn.forecasting.predictor import Forecaster
from service.errors import ValidationError
from service.inference.batcher import Batcher, ClassifyJob, ForecastJob
from service.inference.messages import (
    Classify,
    Done,
    Forecast,
    Frames,
    FromEngine,
    ToEngine,
    to_frame,
)
from service.inference.requests import Classifications, Forecasts, Network
from service.inference.turns import ROWS_PER_TURN
from tests.serving import BAD, CLASSIFICATION, FORECASTING, GOOD

NETWORK = Network(Path("folder"), "0" * 64)
WORDS = [*GOOD.split(), *BAD.split(), "unknown"]


@pytest.fixture(scope="module")
def forecaster(trained: Mapping[str, Path]) -> Forecaster:
    return cast(Forecaster, load_model(trained[FORECASTING]))


@pytest.fixture(scope="module")
def classifier(trained: Mapping[str, Path]) -> Classifier:
    return cast(Classifier, load_model(trained[CLASSIFICATION]))


class Counted:
    """Rows of a key, whose results are their numbers; those of `bad` fail."""

    batches: list[list[str]]

    def __init__(self, name: str, rows: int, key: str = "", bad: int | None = None) -> None:
        self.name, self.key, self.order, self._bad = name, key, range(rows), bad
        self.rows_per_turn = ROWS_PER_TURN

    def compute(self, jobs: Sequence["Counted"], rows: Sequence[int]) -> list[int]:
        if any(row == job._bad for job, row in zip(jobs, rows, strict=True)):
            raise ArithmeticError(self.name)
        Counted.batches.append([job.name for job in jobs])
        return list(rows)

    def answer(self, results: Sequence[int]) -> list[int]:
        return list(results)


@pytest.fixture(autouse=True)
def batches() -> list[list[str]]:
    Counted.batches = []
    return Counted.batches


def run(batcher: Batcher[str], *jobs: Counted) -> dict[str, Any]:
    for job in jobs:
        batcher.add(job.name, job)
    return finish(batcher)


def finish(batcher: Batcher[str]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    while batcher.busy:
        for user, answer in batcher.turn():
            assert user not in answers
            answers[user] = answer
    return answers


def test_small_requests_share_a_batch(batches: list[list[str]]) -> None:
    jobs = [Counted(str(i), 3) for i in range(10)]
    assert run(Batcher(), *jobs) == {str(i): [0, 1, 2] for i in range(10)}
    assert len(batches) == 1


def test_a_large_request_leaves_room_for_the_others(batches: list[list[str]]) -> None:
    answers = run(Batcher(), Counted("large", 1_000), Counted("small", 2))
    assert answers == {"large": list(range(1_000)), "small": [0, 1]}
    assert batches[0].count("small") == 2
    assert {len(batch) for batch in batches[:-1]} == {ROWS_PER_TURN}


def test_more_requests_than_rows_of_a_batch_are_taken_in_their_order(
    batches: list[list[str]],
) -> None:
    answers = run(Batcher(), *(Counted(str(i), 1) for i in range(ROWS_PER_TURN + 5)))
    assert len(answers) == ROWS_PER_TURN + 5
    assert batches[1] == [str(ROWS_PER_TURN + i) for i in range(5)]


def test_networks_take_turns(batches: list[list[str]]) -> None:
    run(Batcher(), Counted("a", 200, key="a"), Counted("b", 200, key="b"))
    assert [batch[0] for batch in batches] == ["a", "b"] * 4


def test_a_request_that_fails_leaves_the_others_their_answers() -> None:
    answers = run(Batcher(), Counted("good", 3), Counted("bad", 3, bad=1), Counted("fine", 2))
    assert isinstance(answers.pop("bad"), ArithmeticError)
    assert answers == {"good": [0, 1, 2], "fine": [0, 1]}


def test_threads_share_the_rows_of_a_batch(batches: list[list[str]]) -> None:
    batcher: Batcher[str] = Batcher(3)
    answers = run(batcher, Counted("large", 100), Counted("bad", 30, bad=7), Counted("few", 2))
    batcher.close()
    assert isinstance(answers.pop("bad"), ArithmeticError)
    assert answers == {"large": list(range(100)), "few": [0, 1]}
    assert max(map(len, batches)) <= -(-ROWS_PER_TURN // 3)


def test_who_leaves_is_not_computed_any_more(batches: list[list[str]]) -> None:
    batcher: Batcher[str] = Batcher()
    batcher.add("a", Counted("a", 1_000))
    batcher.add("b", Counted("b", 1))
    batcher.turn()
    batcher.drop("a")
    batcher.drop("a")
    assert finish(batcher) == {}
    assert len(batches) == 1


ASKED = st.lists(
    st.tuples(
        st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=70),
        st.integers(0, 2),  # batches before it comes
        st.one_of(st.none(), st.integers(0, 5)),  # before whose coming it leaves
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module", params=[1, 3])
def batcher(request: pytest.FixtureRequest) -> Iterator[Batcher[int]]:
    batcher: Batcher[int] = Batcher(request.param)
    yield batcher
    batcher.close()


@settings(max_examples=25, deadline=None)
@given(asked=ASKED)
def test_labels_are_those_of_each_request_alone(
    batcher: Batcher[int],
    classifier: Classifier,
    asked: list[tuple[list[list[str]], int, int | None]],
) -> None:
    """Whoever comes between two batches, and whoever leaves; on however many threads."""
    requests = [[" ".join(words) for words in texts] for texts, _, _ in asked]
    answers: dict[int, Any] = {}
    for number, (texts, (_, batches, _)) in enumerate(zip(requests, asked, strict=True)):
        for other, (_, _, leaves) in enumerate(asked[:number]):
            if leaves == number:
                batcher.drop(other)
        for _ in range(batches):
            if batcher.busy:
                answers.update(batcher.turn())
        batcher.add(number, ClassifyJob(Classify(number, NETWORK, texts, None), classifier))
    while batcher.busy:
        answers.update(batcher.turn())
    left = {number for number, (_, _, leaves) in enumerate(asked) if number < (leaves or 0)}
    assert answers.keys() | left == set(range(len(asked)))
    for number in answers:
        texts, found = requests[number], answers[number]
        assert isinstance(found, Classifications)
        alone = classifier.classify(texts)
        np.testing.assert_array_equal(found.probabilities_bc, alone.probabilities_bc)
        assert (found.truncated, found.known_share) == (alone.truncated, alone.known_share)


def forecast(
    series: Sequence[Sequence[float]],
    horizon: int | None = None,
    max_values: int = 100_000,
    **paths: int,
) -> Forecast:
    arrays = [np.array(values) for values in series]
    nothing = [SeriesCovariates()] * len(series)
    return Forecast(
        next(_numbers), NETWORK, arrays, horizon, [0.1, 0.5], nothing, max_values, **paths
    )


_numbers = count(1)
VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.lists(VALUES, min_size=1, max_size=40),
            st.sampled_from([None, 3, 12]),
            st.integers(0, 3),
            st.one_of(st.none(), st.integers(0, 3)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_forecasts_are_those_of_each_request_alone(
    batcher: Batcher[int],
    forecaster: Forecaster,
    asked: list[tuple[list[list[float]], int | None, int, int | None]],
) -> None:
    """Each comes before a turn; some leave before one, whether or not they were answered."""
    answers: dict[int, Any] = {}
    for turn in range(4):
        for number, (series, horizon, comes, _) in enumerate(asked):
            if comes == turn:
                batcher.add(number, ForecastJob(forecast(series, horizon), forecaster))
        for number, (_, _, comes, leaves) in enumerate(asked):
            if leaves == turn and leaves >= comes:
                batcher.drop(number)
        if batcher.busy:
            answers.update(batcher.turn())
    while batcher.busy:
        answers.update(batcher.turn())
    for number, (series, horizon, comes, leaves) in enumerate(asked):
        if leaves is not None and leaves >= comes and number not in answers:
            continue
        found = answers[number]
        assert isinstance(found, Forecasts)
        alone = forecaster.forecast(
            [np.array(values) for values in series], horizon or 12, [0.1, 0.5]
        )
        np.testing.assert_array_equal(found.mean_bt, alone.mean_bt)
        np.testing.assert_array_equal(found.quantiles_bqt, alone.quantiles_bqt)


def test_sample_paths_are_those_of_each_request_alone(forecaster: Forecaster) -> None:
    """Of each series with the seed of its place; few rows a turn where many paths are drawn."""
    series = [[float(place), 3.0, 5.0 + place] for place in range(40)]
    asked = {
        "a": forecast(series, num_samples=120, seed=7),
        "b": forecast(series[:3], num_samples=120, seed=20),
        "c": forecast(series[:2], num_samples=3, seed=7),
        "d": forecast(series[:2]),
    }
    rows: list[int] = []
    batcher: Batcher[str] = Batcher(begins=lambda _, count: rows.append(count))
    for name, request in asked.items():
        batcher.add(name, ForecastJob(request, forecaster))
    answers: dict[str, Any] = {}
    while batcher.busy:
        answers.update(batcher.turn())
    assert max(rows) == ROWS_PER_TURN // 3
    assert answers["d"].samples_bst is None
    for name in "abc":
        request, samples_bst = asked[name], answers[name].samples_bst
        assert samples_bst.shape == (len(request.series), request.num_samples, 12)
        for row in (0, len(request.series) - 1):
            alone = forecaster.forecast(
                [request.series[row]],
                12,
                [0.5],
                num_samples=request.num_samples,
                seeds=[request.seed + row],
            )
            assert alone.samples_bst is not None
            np.testing.assert_array_equal(samples_bst[row], alone.samples_bst[0])


def test_sample_paths_are_in_messages_only_where_they_were_asked_for() -> None:
    answer = Forecasts(2, np.zeros((1, 2)), np.zeros((1, 1, 2)))
    assert b"samples" not in to_frame([forecast([[1.0]]), Done(1, answer)])
    asked = to_frame([forecast([[1.0]], num_samples=3, seed=2**53)])
    (request,) = Frames[ToEngine](ToEngine).push(asked)
    assert isinstance(request, Forecast)
    assert (request.num_samples, request.seed) == (3, 2**53)
    answered = to_frame([Done(1, replace(answer, samples_bst=np.ones((1, 3, 2))))])
    (told,) = Frames[FromEngine](FromEngine).push(answered)
    assert isinstance(told, Done)
    assert isinstance(told.answer, Forecasts)
    assert np.array_equal(told.answer.samples_bst, np.ones((1, 3, 2)))


def test_paths_over_long_horizons_take_fewer_rows_a_turn(
    forecaster: Forecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the horizon that was trained: the head states all of it, whatever is asked."""
    trained = forecaster.config.data.horizon
    assert trained is not None
    values = 3 * trained * PATHS
    monkeypatch.setattr("service.inference.batcher.PATH_VALUES_PER_TURN", values)
    series = [[1.0, 2.0, 3.0]] * 10
    assert ForecastJob(forecast(series, 1, num_samples=1), forecaster).rows_per_turn == 3
    assert ForecastJob(forecast(series, 1), forecaster).rows_per_turn == ROWS_PER_TURN


def test_a_forecast_that_is_not_finite_is_its_own_error(forecaster: Forecaster) -> None:
    batcher: Batcher[str] = Batcher()
    batcher.add("fine", ForecastJob(forecast([[1.0, 2.0, 3.0]]), forecaster))
    batcher.add("huge", ForecastJob(forecast([[1.0, 2.0], [1e308, -1e308] * 12]), forecaster))
    answers = dict(batcher.turn())
    assert isinstance(answers["fine"], Forecasts)
    assert isinstance(answers["huge"], InputMismatchError)
    assert "series 1 is not finite" in str(answers["huge"])


def test_what_a_network_cannot_answer_is_said_before_it_is_computed(
    forecaster: Forecaster, classifier: Classifier
) -> None:
    with pytest.raises(InputMismatchError, match="horizon 99"):
        ForecastJob(forecast([[1.0]], 99), forecaster)
    with pytest.raises(ValidationError, match="72 numbers, the limit is 71"):
        ForecastJob(forecast([[1.0], [2.0]], max_values=71), forecaster)
    with pytest.raises(ValidationError, match="84 numbers, the limit is 83"):
        ForecastJob(forecast([[1.0]], max_values=83, num_samples=4), forecaster)
    with pytest.raises(ValidationError, match="4 scores, the limit is 3"):
        ClassifyJob(Classify(1, NETWORK, ["a", "b"], 3), classifier)
