"""Every benchmark: what is uploaded, what is chosen beside the preset, what has to be reached."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import data as files
from benchmarks.quality import judges, series, texts
from benchmarks.service import Run, Service

ETT_CONTEXT = 96  # timesteps that a forecaster of ETTh1 may see

Choices = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Figure:
    """What is judged, and what it is compared with. Lower is better unless the name is of a share
    of right answers."""

    name: str
    target: float | None = None
    stretch: float | None = None
    gpu_target: float | None = None
    gpu_stretch: float | None = None
    higher_is_better: bool = False

    def reached(self, value: float, device: str) -> bool | None:
        """Whether the value reaches the target; None: there is none."""
        target = self.target_on(device)
        if target is None:
            return None
        return value >= target if self.higher_is_better else value <= target

    def target_on(self, device: str) -> float | None:
        on_gpu = device == "cuda" and self.gpu_target is not None
        return self.gpu_target if on_gpu else self.target

    def stretch_on(self, device: str) -> float | None:
        on_gpu = device == "cuda" and self.gpu_stretch is not None
        return self.gpu_stretch if on_gpu else self.stretch


@dataclass(frozen=True)
class Pretraining:
    """A language model that a benchmark's job starts from; benchmarks share it by its name."""

    name: str
    upload: Callable[[Path], bytes]
    choices: Choices
    minutes: Mapping[str, float]


@dataclass(frozen=True)
class Benchmark:
    """One job and how it is judged.

    Attributes:
        figures: the first is the one that the benchmark is known by.
        minutes: of training, by device.
        filename: of the upload; says the format.
        naive: figures of the forecast that everybody has to beat, and `naive_known` what the data
            folder's page says that they are.
    """

    name: str
    title: str
    task: str
    figures: tuple[Figure, ...]
    minutes: Mapping[str, float]
    filename: str
    upload: Callable[[Path], bytes]
    judge: Callable[[Service, Path, Run], dict[str, float]]
    choices: Choices = field(default_factory=dict)
    pretraining: Pretraining | None = None
    naive: Callable[[Path], dict[str, float]] | None = None
    naive_known: Mapping[str, float] = field(default_factory=dict)


def _ett(horizon: int, target: float, stretch: float, **known: float) -> Benchmark:
    return Benchmark(
        f"etth1-{horizon}",
        f"ETTh1, horizon {horizon}, context {ETT_CONTEXT}",
        "time-series-forecasting",
        (Figure("MSE", target, stretch), Figure("MAE")),
        {"cpu": 15, "cuda": 15},
        "etth1.jsonl",
        lambda data: series.etth1(data).upload(),
        lambda _service, _data, run: judges.back_test(run),
        # The value one season earlier is read beside each: of a season of 1, 96 in all.
        {
            "data": {
                "horizon": horizon,
                "context_length": ETT_CONTEXT - 1,
                "season_length": 1,
                **every_window(
                    series.ETTH1_TRAIN, series.ETTH1_VALIDATION, series.ETTH1_TEST, horizon
                ),
            },
            "architecture": {"segment_length": 24},
        },
        naive=lambda data: judges.long_series_naive(series.etth1(data), horizon),
        naive_known=known,
    )


def every_window(train_end: int, validation_end: int, end: int, horizon: int) -> dict[str, int]:
    """Held out: all origins, one timestep apart, whose horizons fill a part."""
    return {
        "validation_windows": validation_end - train_end - horizon + 1,
        "test_windows": end - validation_end - horizon + 1,
        "window_step": 1,
    }


def _exchange() -> Benchmark:
    horizon = 96
    return Benchmark(
        "exchange-96",
        "exchange rate, horizon 96",
        "time-series-forecasting",
        (Figure("MSE", 0.081), Figure("MAE")),
        {"cpu": 5, "cuda": 5},
        "exchange.jsonl",
        lambda data: series.exchange_rate(data).upload(),
        lambda _service, _data, run: judges.back_test(run),
        {
            "data": {
                "horizon": horizon,
                **every_window(
                    series.EXCHANGE_TRAIN,
                    series.EXCHANGE_VALIDATION,
                    series.EXCHANGE_TEST,
                    horizon,
                ),
            }
        },
        naive=lambda data: judges.long_series_naive(series.exchange_rate(data), horizon),
        naive_known={"MSE": 0.081, "MAE": 0.196},
    )


def _sst2(name: str, title: str, *, phrases: bool, pretrained: bool) -> Benchmark:
    return Benchmark(
        name,
        title,
        "text-classification",
        (Figure("accuracy, %", 83.5, 88.0, higher_is_better=True),),
        {"cpu": 5, "cuda": 5},
        "sst2.jsonl",
        lambda data: texts.sst2_upload(data, phrases=phrases),
        lambda service, data, run: judges.accuracy(service, run, files.sst2(data, "test")),
        pretraining=_IMDB_LANGUAGE if pretrained else None,
    )


def _imdb(name: str, title: str, *, pretrained: bool) -> Benchmark:
    target = Figure("accuracy, %", 90.0, 95.4, gpu_target=94.5, higher_is_better=True)
    return Benchmark(
        name,
        title,
        "text-classification",
        (target,),
        {"cpu": 20, "cuda": 30},
        "imdb.jsonl",
        lambda data: texts.labelled_upload(texts.imdb(data, "train")),
        lambda service, data, run: judges.accuracy(service, run, texts.imdb(data, "test")),
        pretraining=_IMDB_LANGUAGE if pretrained else None,
    )


_IMDB_LANGUAGE = Pretraining(
    "imdb-language", texts.imdb_text, {"data": {"tokenizer": "bpe"}}, {"cpu": 20, "cuda": 30}
)
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "tinyshakespeare",
            "tinyshakespeare, last 10 % (the weights chosen on it, as in the published figures)",
            "text-generation",
            (Figure("nats per character", 1.548, 1.47),),
            {"cpu": 20, "cuda": 20},
            "tinyshakespeare.txt",
            lambda data: files.tinyshakespeare(data).encode(),
            lambda _service, _data, run: judges.held_out_text(run),
        ),
        Benchmark(
            "ptb",
            "Penn Treebank, words",
            "text-generation",
            (
                Figure("perplexity, static", 114.5, 58.8, gpu_target=78.4),
                Figure("perplexity, cache", None, 52.5),
                Figure("perplexity, dynamic"),
            ),
            {"cpu": 20, "cuda": 30},
            "ptb.jsonl",
            texts.ptb_upload,
            lambda _service, _data, run: judges.test_text(run),
            # 9,999 words and the end of a line, beside the tokenizer's own.
            {
                "data": {
                    "split_column": "split",
                    "tokenizer": "word",
                    "vocabulary_size": 10_100,
                    "test_evaluations": ["static", "cache", "dynamic"],
                }
            },
        ),
        _imdb("imdb", "IMDb", pretrained=False),
        _imdb("imdb-transfer", "IMDb, from a language model of its texts", pretrained=True),
        _sst2("sst2", "SST-2, sentences", phrases=False, pretrained=False),
        _sst2("sst2-phrases", "SST-2, with labelled phrases", phrases=True, pretrained=False),
        _sst2(
            "sst2-transfer",
            "SST-2, with phrases, from a language model of IMDb",
            phrases=True,
            pretrained=True,
        ),
        _ett(96, 0.368, 0.351, MSE=0.512, MAE=0.433),
        _ett(336, 0.444, 0.423),
        Benchmark(
            "m4-hourly",
            "M4 Hourly",
            "time-series-forecasting",
            (
                Figure("MASE", 0.893, 0.722),
                Figure("sMAPE"),
                Figure("OWA"),
                Figure("MSIS", 7.93),
                Figure("coverage"),
            ),
            {"cpu": 15, "cuda": 15},
            "m4-hourly.jsonl",
            series.m4_upload,
            lambda service, data, run: judges.m4(service, run, data),
            naive=judges.m4_naive,
            naive_known={"sMAPE": 13.912, "MASE": 1.193},
        ),
        _exchange(),
    )
}
