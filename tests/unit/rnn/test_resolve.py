"""What is filled in from a profile, and data too small for what was asked."""

import subprocess
import sys
from typing import Any, get_args

import numpy as np
import pytest
import torch

from rnn.classification.network import ClassificationNetwork
from rnn.config import (
    CellName,
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
    TaskConfig,
)
from rnn.data.examples import SeriesExamples
from rnn.determinism import Randomness
from rnn.errors import ConfigError, DataTooSmallError
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.windows import SeriesWindows, WindowSampler, WindowShape
from rnn.generation.network import GenerationNetwork
from rnn.resolve import parameter_count, resolve, workload
from rnn.train import parameter_count as counted


def series_profile(
    shortest: int = 700, median: int = 900, longest: int = 960, series: int = 10, season: int = 24
) -> dict[str, Any]:
    return {
        "series": {
            "series": series,
            "points": median * series,
            "min_length": shortest,
            "median_length": median,
            "max_length": longest,
            "frequency": "1h",
            "season_length": season,
        },
        "labels": None,
        "text": None,
    }


def forecasting(training: dict[str, Any] | None = None, **data: Any) -> ForecastingConfig:
    return ForecastingConfig.model_validate(
        {"task": "time-series-forecasting", "training": training or {}, "data": data}
    )


def classification(**training: Any) -> ClassificationConfig:
    return ClassificationConfig.model_validate(
        {"task": "text-classification", "training": training}
    )


def generation(**training: Any) -> GenerationConfig:
    return GenerationConfig.model_validate({"task": "text-generation", "training": training})


def test_hourly_series_get_two_days_ahead_and_a_week_behind() -> None:
    resolved = resolve(forecasting(), series_profile())
    assert isinstance(resolved, ForecastingConfig)
    assert resolved.data.horizon == 48
    assert resolved.data.context_length == 168
    assert resolved.data.season_length == 24
    assert resolved.training.windows_per_epoch is not None


def test_series_without_a_season_still_get_a_horizon() -> None:
    profile = series_profile(50, 50, 50)
    profile["series"]["season_length"] = None
    resolved = resolve(forecasting(), profile)
    assert isinstance(resolved, ForecastingConfig)
    assert (resolved.data.season_length, resolved.data.horizon) == (1, 12)


def test_short_series_get_a_horizon_that_they_can_hold_out() -> None:
    resolved = resolve(forecasting(), series_profile(10, 12, 14, season=12))
    assert isinstance(resolved, ForecastingConfig)
    assert resolved.data.horizon == 3
    assert resolved.data.context_length == 8


def test_what_was_chosen_is_kept_and_resolving_again_changes_nothing() -> None:
    config = forecasting({"batch_size": 8}, horizon=5, context_length=9, season_length=3)
    once = resolve(config, series_profile())
    assert isinstance(once, ForecastingConfig)
    assert (once.data.horizon, once.data.context_length, once.data.season_length) == (5, 9, 3)
    again = ForecastingConfig.model_validate_json(once.model_dump_json())
    assert resolve(again, series_profile()) == once


@pytest.mark.parametrize(
    ("config", "profile", "numbers"),
    [
        (forecasting(horizon=10, context_length=50), series_profile(shortest=40), ("60", "40")),
        (forecasting(horizon=30), series_profile(shortest=40), ("61", "40")),
        (forecasting(), series_profile(2, 2, 2), ("3", "2")),
        (
            forecasting({"batch_size": 500}, horizon=4),
            series_profile(20, 20, 20, series=2),
            ("500", "24"),
        ),
    ],
)
def test_series_too_short_for_what_was_asked(
    config: TaskConfig, profile: dict[str, Any], numbers: tuple[str, ...]
) -> None:
    with pytest.raises(DataTooSmallError) as caught:
        resolve(config, profile)
    for number in numbers:
        assert number in str(caught.value).replace(",", " ").split() or number in str(caught.value)


@pytest.mark.parametrize(
    "lengths",
    [
        [30] * 510 + [1] * 490,
        [30] * 10,
        [60, 64, 72, 48, 90, 80],
        [2, 30],
        [1, 1, 1, 40],
        [*range(1, 60)],
        [1, 5, 9, 20, 20, 21, 100],
    ],
)
def test_the_windows_are_never_fewer_than_the_sampler_finds(lengths: list[int]) -> None:
    """Series too short for any window once took windows away from the others: of 5,610 windows one
    was left, so that the job ran with batches of one window and refused any other size."""
    profile = {
        "series": len(lengths),
        "points": sum(lengths),
        "min_length": min(lengths),
        "median_length": int(np.median(lengths)),
        "max_length": max(lengths),
    }
    resolved = resolve(forecasting(), {"series": profile})
    assert isinstance(resolved, ForecastingConfig)
    assert resolved.data.horizon is not None
    series = [np.arange(float(length)) for length in lengths]
    ids, starts = [str(index) for index in range(len(series))], [None] * len(series)
    examples = SeriesExamples(ids, series, list(starts), None)
    found = len(WindowSampler(SeriesWindows(examples, WindowShape.of(resolved.data))))
    most = resolved.training.windows_per_epoch
    assert most is not None
    assert found <= most <= sum(lengths)
    if len(set(lengths)) <= 2:
        assert most == sum(max(0, length - 2 * resolved.data.horizon) for length in lengths)
    assert resolved.training.batch_size == min(64, most)
    chosen = forecasting({"batch_size": found})
    assert resolve(chosen, {"series": profile}).training.batch_size == found


def test_a_batch_size_that_nobody_chose_is_lowered_to_the_data() -> None:
    profile = {"labels": {"counts": {"a": 9, "b": 9}, "splits": None}}
    assert resolve(classification(), profile).training.batch_size == 17
    with pytest.raises(DataTooSmallError, match=r"batch_size 32 .* 17 "):
        resolve(classification(batch_size=32), profile)


@pytest.mark.parametrize(
    "labels",
    [
        {"counts": {"only": 100}, "splits": None},
        {"counts": {"a": 1, "b": 1}, "splits": None},
        {"counts": {"a": 10, "b": 10}, "splits": {"test": 20}},
    ],
)
def test_labels_that_leave_nothing_to_learn(labels: dict[str, Any]) -> None:
    with pytest.raises(DataTooSmallError):
        resolve(classification(), {"labels": labels})


def test_a_short_text_gets_a_batch_that_it_fills() -> None:
    resolved = resolve(generation(), {"text": {"bytes": 10_000}})
    assert resolved.training.batch_size == 9000 // (8 * resolved.training.bptt_length + 1)  # type: ignore[union-attr]


def test_less_data_is_read_more_often() -> None:
    """A page of text was once read eight times, eight steps in all, and nothing was learned."""
    page, book = (resolve(generation(), {"text": {"bytes": size}}) for size in (3000, 1_000_000))
    assert book.training.max_epochs == 8
    assert page.training.max_epochs is not None
    assert 20 < page.training.max_epochs <= 100
    assert page.training.early_stopping_patience == page.training.max_epochs // 4
    chosen = resolve(generation(early_stopping_patience=None), {"text": {"bytes": 3000}})
    assert chosen.training.early_stopping_patience is None
    assert resolve(generation(max_epochs=3), {"text": {"bytes": 3000}}).training.max_epochs == 3


def test_max_steps_alone_gets_the_epochs_that_it_needs() -> None:
    """Five thousand steps were once cut to some 400 by an epoch limit that nobody had set."""
    text = {"text": {"bytes": 3000}}
    free = resolve(generation(), text).training
    fewer = resolve(generation(max_steps=5), text).training
    assert fewer.max_epochs == free.max_epochs
    longer = resolve(generation(max_steps=5000), text)
    surely_per_epoch = 11 - 2  # 2,700 bytes in two lanes of segments of 128
    assert longer.training.max_epochs == -(-5000 // surely_per_epoch)
    assert longer.training.early_stopping_patience == longer.training.max_epochs // 4
    assert resolve(longer, text) == longer
    assert resolve(generation(max_steps=10**9), text).training.max_epochs == 10_000
    both = resolve(generation(max_steps=5000, max_epochs=3), text).training
    assert (both.max_epochs, both.max_steps) == (3, 5000)


@pytest.mark.parametrize(
    ("training", "size", "message"),
    [
        ({}, 10, "at least 2 bytes"),
        ({"batch_size": 64}, 100, "batch_size 64 needs 128 bytes .* 90"),
        ({"bptt_length": 95}, 100, "bptt_length 95 needs 96 bytes .* 90"),
    ],
)
def test_a_text_too_short_for_what_was_asked(
    training: dict[str, Any], size: int, message: str
) -> None:
    with pytest.raises(DataTooSmallError, match=message):
        resolve(generation(**training), {"text": {"bytes": size}})


def test_a_data_set_of_another_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="needs labels"):
        resolve(classification(), series_profile())


@pytest.mark.parametrize("cell", get_args(CellName))
@pytest.mark.parametrize("extra", [{}, {"layer_norm": True, "num_layers": 3, "residual": True}])
def test_parameter_count_is_that_of_the_built_network(cell: str, extra: dict[str, Any]) -> None:
    randomness = Randomness(0, torch.device("cpu"))
    architecture = {"cell": cell, "hidden_size": 8, **extra}
    forecaster = resolve(
        forecasting().model_validate(
            {"task": "time-series-forecasting", "architecture": architecture}
        ),
        series_profile(),
    )
    assert isinstance(forecaster, ForecastingConfig)
    network = ForecastingNetwork(forecaster, randomness)
    assert parameter_count(forecaster, series_profile()) == counted(network)

    generator = GenerationConfig.model_validate(
        {"task": "text-generation", "architecture": {**architecture, "embedding_size": 5}}
    )
    assert parameter_count(generator, {}) == counted(GenerationNetwork(generator, randomness))

    for bidirectional in (False, True):
        classifier = ClassificationConfig.model_validate(
            {
                "task": "text-classification",
                "architecture": {
                    **architecture,
                    "embedding_size": 5,
                    "bidirectional": bidirectional,
                },
                "data": {"vocabulary_size": 50},
            }
        )
        profile = {"labels": {"counts": {"a": 1, "b": 2, "c": 3}}}
        assert parameter_count(classifier, profile) == counted(
            ClassificationNetwork(classifier, 50, 3, randomness)
        )


def test_configuration_and_resolving_need_no_torch() -> None:
    """A server that imported torch to check a job would take a second longer to start."""
    program = (
        "import sys, rnn.config, rnn.errors, rnn.events, rnn.resolve, rnn.data.examples;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_evaluations_of_a_test_part_need_one() -> None:
    asked = GenerationConfig.model_validate(
        {"task": "text-generation", "data": {"test_evaluations": ["static", "cache"]}}
    )
    with pytest.raises(ConfigError, match="no test part") as raised:
        resolve(asked, {"text": {"characters": 9_000, "bytes": 9_000, "lines": 90}})
    assert raised.value.location == ("data", "test_evaluations")


LABELS = {"labels": {"counts": {"a": 50, "b": 50}, "splits": None, "median_tokens": 20}}


@pytest.mark.parametrize(
    ("tokenizer", "vocabulary", "tokens"),
    [("word", 900, 20), ("character", 900, 120), ("byte", 256, 120), ("bpe", 900, 30)],
)
def test_a_classifier_is_estimated_by_its_tokens(
    tokenizer: str, vocabulary: int, tokens: int
) -> None:
    asked = ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "data": {"tokenizer": tokenizer, "vocabulary_size": 900},
        }
    )
    resolved = resolve(asked, LABELS)
    assert isinstance(resolved, ClassificationConfig)
    assert resolve(resolved, LABELS) == resolved
    network = ClassificationNetwork(resolved, vocabulary, 2, Randomness(0, torch.device("cpu")))
    assert parameter_count(resolved, LABELS) == counted(network)
    read_anew = counted(network) - network.embedding.weight.numel()
    expected = resolved.training.batch_size * tokens * read_anew
    assert workload(resolved, LABELS).multiplications == expected


def test_a_configuration_from_before_there_was_a_choice_of_tokens_resolves_to_words() -> None:
    asked = classification().model_dump(mode="json")
    del asked["data"]["tokenizer"]
    resolved = resolve(ClassificationConfig.model_validate(asked), LABELS)
    assert resolved.data.model_dump()["tokenizer"] == "word"
