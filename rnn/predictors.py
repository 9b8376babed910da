"""Trained networks as functions: series to forecasts, texts to labels, tokens to next tokens.

Every function runs without gradients and keeps no state of its own, so one thread may call it for
many callers. Inputs are checked here; the networks themselves trust them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.config import (
    QUANTILE_LEVELS,
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
)
from rnn.data.text import pad_tokens
from rnn.data.windows import CodedWindows, WindowShape, code_windows, trailing_history
from rnn.errors import InputMismatchError
from rnn.network import ClassificationNetwork, ForecastingNetwork, GenerationNetwork
from rnn.runner import make_runner
from rnn.state import HiddenState
from rnn.tokenizers import ByteTokenizer, Utf8Decoder, WordTokenizer

FloatArray = NDArray[np.float64]

_ROWS_PER_BATCH = 64


@dataclass(frozen=True)
class ForecastResult:
    """Forecasts in the unit of the series: `mean_bt` [B, horizon], `quantiles_bqt` [B, Q, horizon]
    in the order of the levels asked for."""

    mean_bt: FloatArray
    quantiles_bqt: FloatArray


class Forecaster:
    """Forecasts of series that need not have been seen in training."""

    quantile_levels: tuple[float, ...] = QUANTILE_LEVELS

    def __init__(self, config: ForecastingConfig, network: ForecastingNetwork) -> None:
        self.config = config
        self._head = network.eval().head
        self._runner = make_runner(network.stack)
        self._shape = WindowShape.of(config.data)
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def forecast(
        self, series: Sequence[FloatArray], horizon: int, quantiles: Sequence[float]
    ) -> ForecastResult:
        """The next `horizon` values after the end of each series.

        Args:
            series: float64 [T] each, in order of time; NaN is a missing value.
            horizon: at most the trained one.
            quantiles: levels between the lowest and the highest trained one, interpolated.

        Raises:
            InputMismatchError: a horizon or level that was not trained, or a series without any
                observed value.
        """
        if not 1 <= horizon <= self._shape.horizon:
            raise InputMismatchError(
                f"horizon {horizon} is not between 1 and the model's {self._shape.horizon}"
            )
        lowest, highest = self.quantile_levels[0], self.quantile_levels[-1]
        for level in quantiles:
            if not lowest <= level <= highest:
                raise InputMismatchError(
                    f"quantile {level} is not between the model's {lowest} and {highest}"
                )
        for index, values in enumerate(series):
            if np.isnan(values).all():
                raise InputMismatchError(f"series {index} has no observed value")
        means: list[FloatArray] = [np.empty((0, horizon))]
        levels: list[FloatArray] = [np.empty((0, len(quantiles), horizon))]
        for start in range(0, len(series), _ROWS_PER_BATCH):
            rows = series[start : start + _ROWS_PER_BATCH]
            mean_bh, quantiles_bhq = self._run(trailing_history(rows, self._shape.history_length))
            means.append(mean_bh[:, :horizon])
            levels.append(interpolated(quantiles_bhq[:, :horizon], self.quantile_levels, quantiles))
        return ForecastResult(np.concatenate(means), np.concatenate(levels))

    def _run(self, history_bt: FloatArray) -> tuple[FloatArray, FloatArray]:
        coded = code_windows(history_bt, self._shape)
        y_bth, _ = self._runner.sequences(torch.from_numpy(coded.inputs_btd), state_wanted=False)
        future_bhd = torch.from_numpy(coded.future_bhd).to(self._device)
        return decoded(self._head(y_bth[:, -1], future_bhd), coded)


def decoded(outputs_bhq: Tensor, coded: CodedWindows) -> tuple[FloatArray, FloatArray]:
    """The network's corrections as mean [B, horizon] and rising quantiles [B, horizon, Q] in the
    unit of the series."""
    corrections_bhq = outputs_bhq.cpu().numpy().astype(np.float64)
    values_bhq = coded.base_bh[:, :, None] + coded.scale.scale_b[:, None, None] * corrections_bhq
    # Sorting crossed quantiles never makes their loss larger (Chernozhukov et al. 2010).
    return values_bhq[:, :, 0], np.sort(values_bhq[:, :, 1:], axis=2)


def interpolated(
    quantiles_bhq: FloatArray, trained: Sequence[float], wanted: Sequence[float]
) -> FloatArray:
    """[B, wanted, horizon] quantiles, linear between the trained levels."""
    place_q = np.interp(wanted, trained, np.arange(len(trained)))
    below_q = np.minimum(place_q.astype(np.int64), len(trained) - 2)
    share_q = place_q - below_q
    lower, upper = quantiles_bhq[:, :, below_q], quantiles_bhq[:, :, below_q + 1]
    mixed: FloatArray = lower + share_q * (upper - lower)
    return mixed.transpose(0, 2, 1)


@dataclass(frozen=True)
class ClassificationResult:
    """Per text: probabilities [B, labels], whether it was cut, and the share of words known."""

    probabilities_bc: FloatArray
    truncated: list[bool]
    known_share: list[float]


class Classifier:
    """Label probabilities of texts."""

    def __init__(
        self,
        config: ClassificationConfig,
        network: ClassificationNetwork,
        tokenizer: WordTokenizer,
        labels: list[str],
    ) -> None:
        self.config = config
        self.labels = labels
        self._head = network.eval().head
        self._runner = make_runner(network.stack, embedding_vd=network.embedding.weight)
        self._tokenizer = tokenizer
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def classify(self, texts: Sequence[str]) -> ClassificationResult:
        """Probabilities of each label, in the order of `labels`. Texts of similar length share a
        batch; the order of the answers is that of the texts."""
        encoded = self._tokenizer.encode(texts, max_tokens=self.config.data.max_tokens)
        probabilities_bc = np.empty((len(texts), len(self.labels)))
        by_length = sorted(range(len(encoded)), key=lambda index: len(encoded[index].tokens))
        for start in range(0, len(by_length), _ROWS_PER_BATCH):
            rows = by_length[start : start + _ROWS_PER_BATCH]
            tokens_bt, lengths_b = pad_tokens([encoded[index].tokens for index in rows])
            y_bth, _ = self._runner.sequences(tokens_bt, lengths_b, state_wanted=False)
            logits_bc = self._head(y_bth, lengths_b.to(self._device))
            probabilities_bc[rows] = torch.softmax(logits_bc.double(), dim=1).cpu().numpy()
        return ClassificationResult(
            probabilities_bc,
            [text.truncated for text in encoded],
            [text.known_share for text in encoded],
        )


class Generator:
    """Scores of the next token; the caller holds the hidden state and samples."""

    def __init__(self, config: GenerationConfig, network: GenerationNetwork) -> None:
        self.config = config
        network.eval()
        self._runner = make_runner(
            network.stack, embedding_vd=network.embedding.weight, output=network.head
        )
        self._tokenizer = ByteTokenizer()
        parameter = next(network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.vocabulary_size

    def encode(self, text: str) -> list[int]:
        """Tokens of a prompt, at least one."""
        return self._tokenizer.encode(text)

    def decoder(self) -> Utf8Decoder:
        """A new decoder for one stream of tokens."""
        return self._tokenizer.decoder()

    @torch.inference_mode()
    def initial_state(self, batch_size: int) -> HiddenState:
        """The state before anything was read."""
        architecture = self.config.architecture
        return HiddenState.zeros(
            architecture.cell,
            architecture.num_layers,
            batch_size,
            architecture.hidden_size,
            device=self._device,
            dtype=self._dtype,
        )

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], state: HiddenState) -> tuple[Tensor, HiddenState]:
        """Scores [V] after the last of the tokens and the state with all of them read.

        Args:
            tokens: at least one.
            state: of one row.
        """
        if not tokens:
            raise InputMismatchError("a prompt needs at least one token")
        for token in tokens:
            if not 0 <= token < self.vocabulary_size:
                raise InputMismatchError(
                    f"token {token} is not between 0 and {self.vocabulary_size - 1}"
                )
        return self._runner.prefill(torch.tensor(tokens), state)

    @torch.inference_mode()
    def step(self, tokens_b: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """Scores [B, V] after one more token in each row, and the new state."""
        return self._runner.step(tokens_b, state)
