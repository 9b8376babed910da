"""The networks that peers serve, in torch's own modules, and what a request asks of them.

Runs in the environment of the peers: nothing of `rnn` is here. Weights come from the folder
`PEER_FOLDER`, where `benchmarks.serving.networks` has put those of the product's own versions.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

FOLDER = Path(os.environ["PEER_FOLDER"])
TASK = os.environ["PEER_TASK"]
PORT = int(os.environ["PEER_PORT"])
THREADS = int(os.environ["PEER_THREADS"])
MOST_ROWS, WAIT_SECONDS = 64, 0.005  # of a batch that is gathered
FURTHEST = 20  # what a forecaster reads is cut there

Body = dict[str, Any]


def served() -> Any:
    """The model of this peer's task, in evaluation mode, on its number of threads."""
    torch.set_num_threads(THREADS)
    return {"sentiment": Sentiment, "forecasts": Forecast}.get(TASK, Generation)()


def described(task: str) -> Any:
    return json.loads((FOLDER / f"{task}.json").read_text(encoding="utf-8"))


class Sentiment(nn.Module):
    """Words, `nn.LSTM` in both directions, the last, largest and mean output, label scores."""

    def __init__(self) -> None:
        super().__init__()
        weights, said = load_file(FOLDER / "sentiment.safetensors"), described("sentiment")
        self.labels, self.most = said["labels"], said["max_tokens"]
        self.tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
        words, size = weights["embedding.weight"].shape
        self.embedding = nn.Embedding(words, size)
        hidden, layers = said["hidden_size"], said["num_layers"]
        self.lstm = nn.LSTM(size, hidden, layers, batch_first=True, bidirectional=True)
        self.out = nn.Linear(6 * hidden, len(self.labels))
        self.load_state_dict(weights)
        self.eval()

    def tokens(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found[: self.most] or [1]

    def forward(self, tokens_bt: Tensor, lengths_b: Tensor) -> Tensor:
        x_bte = self.embedding(tokens_bt)
        if len(lengths_b) == 1:
            y_bth, _ = self.lstm(x_bte)
        else:
            packed = pack_padded_sequence(x_bte, lengths_b, batch_first=True, enforce_sorted=False)
            y_bth, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        padding_bt1 = (torch.arange(y_bth.shape[1]) >= lengths_b[:, None])[:, :, None]
        last_bh = y_bth[torch.arange(len(y_bth)), lengths_b - 1]
        largest_bh = y_bth.masked_fill(padding_bt1, -torch.inf).amax(dim=1)
        mean_bh = y_bth.masked_fill(padding_bt1, 0).sum(dim=1) / lengths_b[:, None]
        scores_bc: Tensor = self.out(torch.cat([last_bh, largest_bh, mean_bh], dim=1))
        return scores_bc

    @torch.inference_mode()
    def answers(self, bodies: list[Body]) -> list[Body]:
        rows = [torch.tensor(self.tokens(body["text"])) for body in bodies]
        lengths_b = torch.tensor([len(row) for row in rows])
        scores_bc = self(pad_sequence(rows, batch_first=True), lengths_b)
        return self.said(torch.softmax(scores_bc, dim=1))

    def said(self, shares_bc: Tensor) -> list[Body]:
        best_b = shares_bc.argmax(dim=1).tolist()
        return [
            {"label": self.labels[best], "score": shares[best]}
            for best, shares in zip(best_b, shares_bc.tolist(), strict=True)
        ]


class Forecast(nn.Module):
    """`nn.LSTM` over a week of hours in units of the window, and for each future timestep a small
    network that corrects the last season's value. Reads whole series, none of it missing."""

    def __init__(self) -> None:
        super().__init__()
        weights, said = load_file(FOLDER / "forecasts.safetensors"), described("forecasts")
        self.context, self.history, self.lag = said["context"], said["history"], said["lag"]
        # Columns of the history that are shown for each future timestep.
        self.columns_hn = (
            self.history - np.array(said["lags"]) + np.arange(said["horizon"])[:, None]
        )
        self.levels = said["levels"]
        hidden, future = said["hidden_size"], 2 * self.columns_hn.shape[1]
        outputs = weights["out.bias"].shape[0]
        self.lstm = nn.LSTM(said["inputs"], hidden, said["num_layers"], batch_first=True)
        self.read, self.mixed = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.future, self.out = nn.Linear(future, hidden), nn.Linear(hidden, outputs)
        self.distance_hw = nn.Parameter(torch.empty(said["horizon"], hidden))
        self.load_state_dict(weights)
        self.eval()

    def forward(self, inputs_btd: Tensor, future_bhd: Tensor) -> Tensor:
        y_bth, _ = self.lstm(inputs_btd)
        mixed_bhw = self.read(y_bth[:, -1])[:, None] + self.future(future_bhd) + self.distance_hw
        mixed_bhw = nn.functional.gelu(mixed_bhw)
        mixed_bhw = mixed_bhw + nn.functional.gelu(self.mixed(mixed_bhw))
        outputs_bho: Tensor = self.out(mixed_bhw)
        return outputs_bho

    @torch.inference_mode()
    def answers(self, bodies: list[Body]) -> list[Body]:
        counts = [len(body["series"]) for body in bodies]
        series = [values[-self.history :] for body in bodies for values in body["series"]]
        forecasts = iter(
            [
                forecast
                for start in range(0, len(series), MOST_ROWS)
                for forecast in self._forecasts(np.array(series[start : start + MOST_ROWS]))
            ]
        )
        return [{"forecasts": [next(forecasts) for _ in range(count)]} for count in counts]

    def _forecasts(self, history_bt: np.ndarray) -> list[Body]:
        context_bt = history_bt[:, -self.context :]
        location_b1 = context_bt.mean(axis=1, keepdims=True)
        scale_b1 = np.abs(context_bt - location_b1).mean(axis=1, keepdims=True)
        scaled_bt = (history_bt - location_b1) / scale_b1
        lagged_bt = scaled_bt[:, -self.context - self.lag : -self.lag]
        ones_bt = np.ones_like(context_bt)
        relative_bt = ones_bt * (scale_b1 / (np.abs(location_b1) + scale_b1))
        size_bt = ones_bt * np.log10(scale_b1) / 10
        features = [
            scaled_bt[:, -self.context :],
            ones_bt,
            lagged_bt,
            ones_bt,
            relative_bt,
            size_bt,
        ]
        known_bhn = scaled_bt[:, self.columns_hn]
        outputs_bho = self(
            _read(np.stack(features, axis=2)),
            _read(np.concatenate([known_bhn, np.ones_like(known_bhn)], axis=2)),
        ).numpy()
        base_bh1 = history_bt[:, self.columns_hn[:, 0]][:, :, None]
        values_bho = base_bh1 + scale_b1[:, :, None] * outputs_bho.astype(np.float64)
        quantiles_bhq = np.sort(values_bho[:, :, 1:], axis=2)
        return [
            {
                "mean": values_ho[:, 0].tolist(),
                "quantiles": {
                    name: quantiles_hq[:, place].tolist() for name, place in self.levels.items()
                },
            }
            for values_ho, quantiles_hq in zip(values_bho, quantiles_bhq, strict=True)
        ]


def _read(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.clip(values, -FURTHEST, FURTHEST).astype(np.float32))


class Generation(nn.Module):
    """Bytes or words, `nn.LSTM`, their scores; the likeliest is always taken."""

    def __init__(self) -> None:
        super().__init__()
        weights, said = load_file(FOLDER / f"{TASK}.safetensors"), described(TASK)
        self.words = said.get("tokens")
        self.numbers = {word: number for number, word in enumerate(self.words or [])}
        vocabulary, size = weights["embedding.weight"].shape
        self.embedding = nn.Embedding(vocabulary, size)
        self.lstm = nn.LSTM(size, said["hidden_size"], said["num_layers"], batch_first=True)
        self.out = nn.Linear(said["hidden_size"], vocabulary)
        self.load_state_dict(weights)
        self.eval()

    def stream(self, bodies: list[Body]) -> Iterator[list[int | None]]:
        """A token of each text at a time, None after its last; prompts are read one by one."""
        counts = [body["tokens"] for body in bodies]
        with torch.inference_mode():
            read = [self._prompt(self.tokens(body["prompt"])) for body in bodies]
            tokens_b = torch.stack([scores_v.argmax() for scores_v, _ in read])
            state = tuple(torch.cat([end[part] for _, end in read], dim=1) for part in (0, 1))
        for place in range(max(counts)):
            drawn = tokens_b.tolist()
            yield [
                token if place < count else None for token, count in zip(drawn, counts, strict=True)
            ]
            with torch.inference_mode():
                y_b1h, state = self.lstm(self.embedding(tokens_b[:, None]), state)
                tokens_b = self.out(y_b1h[:, 0]).argmax(dim=1)

    def tokens(self, prompt: str) -> list[int]:
        if self.words is None:
            return list(prompt.encode())
        return [self.numbers.get(word, self.numbers["<unk>"]) for word in prompt.split()]

    def event(self, token: int) -> str:
        """One token as a server-sent event."""
        text = chr(token) if self.words is None else _spaced(self.words[token])
        return f'data: {{"token": {token}, "text": {json.dumps(text)}}}\n\n'

    def _prompt(self, tokens: list[int]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y_1th, end = self.lstm(self.embedding(torch.tensor([tokens])))
        return self.out(y_1th[0, -1]), end


def _spaced(word: str) -> str:
    return "\n" if word == "<eos>" else f" {word}"
