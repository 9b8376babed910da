"""Whole sequences: sentences of many lengths through a BiLSTM, series through a forecaster."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from benchmarks.kernels import onnx_engines, ours
from benchmarks.kernels.measure import Row, build, interleaved, say
from benchmarks.kernels.networks import Classifier, Forecaster, sentences, torch_lstm
from benchmarks.kernels.torch_engines import quantised

BATCH = 64
# Scores of a whole pass further from nn.LSTM's than this are said beside the figure.
WORTH_SAYING = 1e-3

Scores = Callable[[Sequence[Tensor]], Tensor]


class TorchClassifier(nn.Module):
    """The classifier over `nn.LSTM`."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.embedding, self.out = model.embedding, model.out
        self.lstm = torch_lstm(model.stack)

    def forward(self, tokens_bt: Tensor, lengths_b: Tensor | None = None) -> Tensor:
        x = self.embedding(tokens_bt)
        if lengths_b is not None:
            x = pack_padded_sequence(x, lengths_b, batch_first=True, enforce_sorted=False)
        _, (hidden_lbh, _) = self.lstm(x)
        scores: Tensor = self.out(torch.cat([hidden_lbh[-2], hidden_lbh[-1]], dim=1))
        return scores


class TorchForecaster(nn.Module):
    """The forecaster over `nn.LSTM`."""

    def __init__(self, model: Forecaster) -> None:
        super().__init__()
        self.lstm, self.out = torch_lstm(model.stack), model.out

    def forward(self, x_btd: Tensor) -> Tensor:
        _, (hidden_lbh, _) = self.lstm(x_btd)
        forecast: Tensor = self.out(hidden_lbh[-1])
        return forecast


def classification(threads: int, *, quick: bool, compile_too: bool) -> list[Row]:
    """Sentences a second one at a time and in batches, and one request alone."""
    del compile_too  # dynamic lengths: every one would be built anew
    model = Classifier().eval()
    rows = sentences(128 if quick else 512)
    singles = [[row] for row in rows]
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    by_length = sorted(rows, key=len)
    bucketed = [by_length[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    torch_model = TorchClassifier(model).eval()
    torch_int8 = quantised(torch_model)
    part = functools.partial
    engines, failed = build(
        {
            "nn.LSTM padded": lambda: part(_padded, torch_model),
            "nn.LSTM packed": lambda: part(_packed, torch_model),
            "torch dynamic int8 packed": lambda: part(_packed, torch_int8),
            "ONNX Runtime f32": part(onnx_engines.classifier, model, threads, int8=False),
            "ONNX Runtime int8": part(onnx_engines.classifier, model, threads, int8=True),
            **{
                f"ours {name}": part(ours.classifier, model, precision)
                for name, precision in ours.PRECISIONS.items()
            },
        }
    )
    found = []
    works: list[tuple[str, list[list[Tensor]], list[tuple[str, str]]]] = [
        (
            "one at a time",
            singles,
            [
                ("nn.LSTM", "nn.LSTM padded"),
                *((name, name) for name in engines if not name.startswith("nn.LSTM")),
            ],
        ),
        (
            "batches of 64, any order",
            batches,
            [
                ("nn.LSTM padded (wrong backwards)", "nn.LSTM padded"),
                *((name, name) for name in engines if name != "nn.LSTM padded"),
            ],
        ),
        (
            "batches of 64, by length",
            bucketed,
            [(name, name) for name in engines if name != "nn.LSTM padded"],
        ),
    ]
    for work, parts, lines in works:
        say(f"sequences: {work}")
        calls = {name: part(_all, engines[engine], parts) for name, engine in lines}
        found += _rows(work, calls, failed, len(rows), quick)
    say("sequences: one request of 30 tokens")
    request = [torch.arange(1, 31)]
    calls = {
        ("nn.LSTM" if name == "nn.LSTM padded" else name): part(engine, request)
        for name, engine in engines.items()
        if name != "nn.LSTM packed"
    }
    timings = interleaved(calls, repetitions=3 if quick else 9, seconds=0.1)
    found += [
        timing.row("sequences", "one request of 30 tokens", name, unit="us", items=1)
        for name, timing in timings.items()
    ]
    return found


def _rows(
    work: str,
    calls: Mapping[str, Callable[[], Tensor]],
    failed: dict[str, str],
    sequences: int,
    quick: bool,
) -> list[Row]:
    with torch.inference_mode():
        expected = next(iter(calls.values()))() if "any order" not in work else None
        if expected is None:
            expected = calls["nn.LSTM packed"]()
        errors = {name: float((call() - expected).abs().max()) for name, call in calls.items()}
        timings = interleaved(calls, repetitions=2 if quick else 5, seconds=0.3)
    rows = []
    for name, timing in timings.items():
        row = timing.row("sequences", work, name, unit="sequences/s", items=sequences)
        wrong = errors[name] > WORTH_SAYING
        note = f"scores differ by up to {errors[name]:.2g}" if wrong else ""
        rows.append(Row(**{**row.as_json(), "note": note}))
    return rows + [
        Row("sequences", work, name, "sequences/s", None, note=reason)
        for name, reason in failed.items()
    ]


def forecasting(threads: int, *, quick: bool, compile_too: bool) -> list[Row]:
    """One series, and series a second of 64 at once."""
    model = Forecaster().eval()
    torch_model = TorchForecaster(model).eval()
    part = functools.partial
    found = []
    for series in (1, BATCH):
        work = f"{series} series T{threads}"
        say(f"forecasting: {work}")
        x_btd = torch.randn(
            series, model.CONTEXT, model.FEATURES, generator=torch.Generator().manual_seed(0)
        )
        makers: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
            "nn.LSTM, oneDNN on": lambda: torch_model,
            "nn.LSTM, oneDNN off": lambda: part(_without_onednn, torch_model),
            "nn.LSTM bf16": lambda: part(_bf16, copy.deepcopy(torch_model).to(torch.bfloat16)),
            "torch dynamic int8": lambda: quantised(torch_model),
            "ONNX Runtime f32": part(onnx_engines.forecaster, model, threads, int8=False),
            "ONNX Runtime int8": part(onnx_engines.forecaster, model, threads, int8=True),
        }
        if compile_too:
            makers["torch.compile f32"] = lambda: torch.compile(torch_model)
        for name, precision in ours.PRECISIONS.items():
            makers[f"ours {name}"] = part(ours.forecaster, model, precision)
        with torch.inference_mode():
            engines, failed = build(makers)
            calls = {name: part(engine, x_btd) for name, engine in engines.items()}
            timings = interleaved(calls, repetitions=3 if quick else 7, seconds=0.15)
        unit = "ms" if series == 1 else "series/s"
        items = 1 if series == 1 else series
        found += [
            timing.row("forecasting", work, name, unit=unit, items=items)
            for name, timing in timings.items()
        ]
        found += [
            Row("forecasting", work, name, unit, None, note=reason)
            for name, reason in failed.items()
        ]
    return found


def _all(engine: Scores, batches: list[list[Tensor]]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([engine(batch) for batch in batches])


def _padded(model: TorchClassifier, rows: Sequence[Tensor]) -> Tensor:
    with torch.inference_mode():
        scores: Tensor = model(pad_sequence(list(rows), batch_first=True))
    return scores


def _packed(model: nn.Module, rows: Sequence[Tensor]) -> Tensor:
    with torch.inference_mode():
        lengths_b = torch.tensor([len(row) for row in rows])
        scores: Tensor = model(pad_sequence(list(rows), batch_first=True), lengths_b)
    return scores


def _without_onednn(model: TorchForecaster, x_btd: Tensor) -> Tensor:
    with torch.backends.mkldnn.flags(enabled=False):
        forecast: Tensor = model(x_btd)
    return forecast


def _bf16(model: TorchForecaster, x_btd: Tensor) -> Tensor:
    forecast: Tensor = model(x_btd.to(torch.bfloat16))
    return forecast.float()
