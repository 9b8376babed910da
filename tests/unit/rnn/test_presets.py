"""Presets fill in what is left open, and nothing else."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from rnn.config import TaskConfig
from rnn.errors import ConfigError
from rnn.inherit import inherit
from rnn.presets import DeviceType, with_preset

CONFIGS: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
TASKS = ["time-series-forecasting", "text-classification", "text-generation"]


def config(task: str, **parts: Any) -> TaskConfig:
    return CONFIGS.validate_python({"task": task, **parts})


def test_far_ahead_in_long_series_means_segments() -> None:
    profile = {"series": {"median_length": 4_000}}
    near = config("time-series-forecasting", data={"horizon": 48})
    far = config("time-series-forecasting", data={"horizon": 96})
    farther = config("time-series-forecasting", data={"horizon": 336})
    decodings = [
        with_preset(asked, profile, "cpu").architecture.model_dump()["decoding"]
        for asked in (near, far, farther)
    ]
    assert decodings == ["direct", "segments", "direct"]
    sizes = [
        with_preset(
            config("time-series-forecasting", preset=preset, data={"horizon": 96}), profile, "cpu"
        ).architecture.hidden_size
        for preset in ("small", "base", "large")
    ]
    assert sizes == sorted(set(sizes))


def test_long_texts_are_shortened_first() -> None:
    asked = config("text-classification")
    short = with_preset(asked, {"labels": {"median_tokens": 20}}, "cpu")
    long = with_preset(asked, {"labels": {"median_tokens": 200}}, "cpu")
    assert short.architecture.model_dump()["convolution"] is None
    assert long.architecture.model_dump()["convolution"]["pooling"] == 2
    assert long.data.model_dump()["truncation"] == "both"


@pytest.mark.parametrize(
    ("tokenizer", "tokens"), [("word", 512), ("bpe", 768), ("character", 3072), ("byte", 3072)]
)
def test_other_tokens_are_of_as_much_text_as_so_many_words(tokenizer: str, tokens: int) -> None:
    asked = config("text-classification", data={"tokenizer": tokenizer})
    filled = with_preset(asked, {"labels": {"median_tokens": 20}}, "cpu")
    assert filled.data.model_dump()["max_tokens"] == tokens
    assert with_preset(filled, {"labels": {"median_tokens": 20}}, "cpu") == filled
    chosen = config("text-classification", data={"tokenizer": tokenizer, "max_tokens": 9})
    assert with_preset(chosen, {}, "cpu").data.model_dump()["max_tokens"] == 9


def test_a_classifier_of_a_language_model_reads_as_much_text() -> None:
    base = config("text-generation", data={"tokenizer": "bpe"})
    filled = with_preset(inherit(config("text-classification"), base), {}, "cpu")
    assert filled.data.model_dump()["max_tokens"] == 768


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("tokenizer", ["byte", "word", "bpe"])
def test_presets_grow(tokenizer: str, device: DeviceType) -> None:
    for task in TASKS:
        data = {"data": {"tokenizer": tokenizer}} if task == "text-generation" else {}
        sizes = [
            with_preset(config(task, preset=preset, **data), {}, device).architecture.hidden_size
            for preset in ("small", "base", "large")
        ]
        assert sizes == sorted(set(sizes)), task


@pytest.mark.parametrize("task", TASKS)
def test_a_gpu_gets_the_next_larger_one(task: str) -> None:
    smaller = with_preset(config(task, preset="small"), {}, "cuda")
    larger = with_preset(config(task, preset="base"), {}, "cpu")
    assert smaller.architecture == larger.architecture


def test_what_was_chosen_stays() -> None:
    asked = config(
        "text-generation",
        preset="large",
        architecture={"hidden_size": 24, "tied": False},
        data={"tokenizer": "word"},
    )
    filled = with_preset(asked, {}, "cpu")
    assert filled.architecture.hidden_size == 24
    assert filled.architecture.model_dump()["tied"] is False
    assert filled.architecture.model_dump()["embedding_size"] > 24


def test_an_option_of_the_default_cell_keeps_that_cell() -> None:
    for option in ({"weight_dropout": 0.3}, {"peephole": True}, {"mogrifier_rounds": 2}):
        asked = config("text-classification", architecture=option)
        filled = with_preset(asked, {"labels": {"median_tokens": 300}}, "cpu")
        assert filled.architecture.cell == "lstm"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_preset_takes_cells_with_heads(device: DeviceType) -> None:
    for task in TASKS:
        for preset in ("small", "base", "large"):
            for tokenizer in ("byte", "word"):
                data = {"data": {"tokenizer": tokenizer}} if task == "text-generation" else {}
                asked = config(task, preset=preset, architecture={"cell": "slstm"}, **data)
                with_preset(asked, {}, device)


def test_a_preset_does_not_count_as_chosen() -> None:
    filled = with_preset(config("text-classification", preset="large"), {}, "cpu")
    assert not filled.architecture.model_fields_set
    assert with_preset(filled, {}, "cpu") == filled


def test_a_stored_configuration_is_not_changed() -> None:
    stored = with_preset(config("text-generation", preset="small"), {}, "cpu")
    read_back = CONFIGS.validate_json(stored.model_dump_json())
    assert with_preset(read_back, {}, "cuda") == read_back == stored


def test_a_choice_that_contradicts_the_preset_is_named() -> None:
    heads = {"cell": "slstm", "num_heads": 64}
    with_preset(config("time-series-forecasting", architecture=heads), {}, "cpu")
    small = config("time-series-forecasting", preset="small", architecture=heads)
    with pytest.raises(ConfigError, match="32 is not a multiple of num_heads 64") as raised:
        with_preset(small, {}, "cpu")
    assert raised.value.location == ("architecture",)


def test_an_adaptive_softmax_is_not_tied() -> None:
    asked = config(
        "text-generation", architecture={"softmax": "adaptive"}, data={"tokenizer": "word"}
    )
    filled = with_preset(asked, {}, "cpu")
    CONFIGS.validate_json(filled.model_dump_json())
    assert filled.architecture.model_dump()["tied"] is False
