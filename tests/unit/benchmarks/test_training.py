import pytest

from benchmarks.quality.rows import Place
from benchmarks.training.forecasting import Fit
from benchmarks.training.page import Kept, render
from benchmarks.training.plain import network_of
from benchmarks.training.presets import Rates
from rnn.config import (
    ClassificationArchitecture,
    ClassificationConfig,
    ClassificationTraining,
    GenerationArchitecture,
    GenerationConfig,
    GenerationTraining,
)


def test_weights_that_a_token_is_multiplied_by() -> None:
    config = GenerationConfig(
        task="text-generation",
        architecture=GenerationArchitecture(num_layers=2, hidden_size=4, embedding_size=3),
        training=GenerationTraining(batch_size=2, bptt_length=5),
    )
    network = network_of(config, [], 0)
    layers = 4 * 4 * (3 + 4) + 4 * 4 * (4 + 4)
    assert network.multiplied() == layers + 256 * 4
    _, tokens = next(network.batches())
    assert tokens == 2 * 5


def test_padding_of_ragged_texts_is_not_counted() -> None:
    config = ClassificationConfig(
        task="text-classification",
        architecture=ClassificationArchitecture(hidden_size=4, embedding_size=3),
        training=ClassificationTraining(batch_size=4),
    )
    lengths = [1, 2, 7, 600]  # the last one is longer than the network reads
    loss, tokens = next(network_of(config, lengths, 20).batches())
    assert tokens == 1 + 2 + 7 + config.data.max_tokens
    assert loss.isfinite()


def test_share_of_the_peak_counts_six_operations_a_weight() -> None:
    rates = Rates("generation", "base", (1_000.0, 900.0, 1_100.0), {}, 500_000, 1, "lstm")
    assert rates.share_of_peak(10.0) == pytest.approx(1_000 * 500_000 * 6 / 10e9)


def test_page_counts_series_and_compares_whole_times() -> None:
    plain = {"float32": 9_600.0, "bfloat16 autocast": 19_200.0}
    rates = Rates("forecasting", "base", (19_200.0, 9_600.0, 28_800.0), plain, 100, 96, "lstm")
    fits = [Fit("NeuralForecast 3 LSTM", 90.0, 10.0, 1.0), Fit("preset base", 19.0, 1.0, 0.9)]
    page = render(Kept([rates], fits, {"f32": 100.0}, Place("a processor", 2, "abc", "today"), ""))
    assert "| series/s | 200 (100..300) | 100 (ours 2x) | 200 (ours 1x) |" in page
    assert "| preset base | 19.0 | 1.00 | 0.900 | 5x |" in page
