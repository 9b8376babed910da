"""A trained classifier as a function of texts.

It runs without gradients and keeps no state of its own, so one thread may call it for many callers.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rnn.classification.attribution import Attribution, integrated_gradients
from rnn.classification.network import ClassificationNetwork
from rnn.classification.padding import pad_tokens
from rnn.classification.reading import Reader
from rnn.config import ClassificationConfig
from rnn.kernels.library import Precision
from rnn.runner import make_runner
from rnn.state import HiddenState
from rnn.tokenizers import EncodedText, Span
from rnn.tokenizers.encoded import cut

FloatArray = NDArray[np.float64]

_ROWS_PER_BATCH = 64


@dataclass(frozen=True)
class ClassificationResult:
    """Per text: probabilities [B, labels], whether it was cut, and the share of tokens known."""

    probabilities_bc: FloatArray
    truncated: list[bool]
    known_share: list[float]


class Classifier:
    """Label probabilities of texts.

    Args:
        temperature: the scores are divided by it (`rnn.classification.calibration`).
        precision: what its stack is computed in, where there are kernels for it.

    Attributes:
        reader: encodes texts.
    """

    def __init__(
        self,
        config: ClassificationConfig,
        network: ClassificationNetwork,
        reader: Reader,
        labels: list[str],
        temperature: float = 1.0,
        precision: Precision = "float32",
    ) -> None:
        self.config = config
        self.labels = labels
        self._temperature = temperature
        self._network = network.eval().requires_grad_(requires_grad=False)
        whole = network.convolution is None
        self._runner = make_runner(
            network.stack,
            embedding_vd=network.embedding.weight if whole else None,
            precision=precision,
        )
        self.reader = reader
        self._device = next(network.parameters()).device

    @property
    def precision(self) -> Precision:
        """What its stack is computed in."""
        return self._runner.precision

    def classify(self, texts: Sequence[str]) -> ClassificationResult:
        """Probabilities of each label, in the order of `labels`. Texts of similar length share a
        batch; the order of the answers is that of the texts."""
        return self.classify_encoded(self.encode(texts))

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """The tokens that it reads of each text."""
        data = self.config.data
        return self.reader.encode(texts, max_tokens=data.max_tokens, truncation=data.truncation)

    def spans(self, text: str) -> list[Span]:
        """Where these stand in the text; what stands for a text without tokens is all of it."""
        data = self.config.data
        spans = self.reader.spans(text) or [(0, len(text))]
        return cut(spans, max_tokens=data.max_tokens, truncation=data.truncation)

    @torch.inference_mode()
    def classify_encoded(self, encoded: Sequence[EncodedText]) -> ClassificationResult:
        """Likewise, of texts as the reader encodes them."""
        probabilities_bc = np.empty((len(encoded), len(self.labels)))
        by_length = sorted(range(len(encoded)), key=lambda index: len(encoded[index].tokens))
        for start in range(0, len(by_length), _ROWS_PER_BATCH):
            rows = by_length[start : start + _ROWS_PER_BATCH]
            logits_bc = self._scores(*pad_tokens([encoded[index].tokens for index in rows]))
            scaled_bc = logits_bc.double() / self._temperature
            probabilities_bc[rows] = torch.softmax(scaled_bc, dim=1).cpu().numpy()
        return ClassificationResult(
            probabilities_bc,
            [text.truncated for text in encoded],
            [text.known_share for text in encoded],
        )

    def attribute(self, encoded: EncodedText, label: int) -> Generator[None, None, Attribution]:
        """What each token adds to the log-odds of a label, by its number in `labels`, in turns.

        The log-odds are ln(p / (1 - p)) of its probability, in float32 whatever `precision` is.
        """

        def log_odds(x_btd: Tensor) -> Tensor:
            lengths_b = torch.full((len(x_btd),), x_btd.shape[1], device=self._device)
            logits_bc = self._network.scores(x_btd, lengths_b).double() / self._temperature
            others = [other for other in range(len(self.labels)) if other != label]
            return logits_bc[:, label] - logits_bc[:, others].logsumexp(dim=1)

        tokens_t = torch.tensor(encoded.tokens, device=self._device)
        return integrated_gradients(log_odds, self._network.vectors(tokens_t[None])[0])

    @torch.inference_mode()
    def initial_state(self) -> HiddenState:
        """The forward direction's state before the first token of one text."""
        return self._network.stack.initial_state(1)

    @torch.inference_mode()
    def hidden(self, encoded: EncodedText) -> HiddenState:
        """The forward direction's state after the last token of one text."""
        _, end = self._runner.sequences(*self._stack_inputs(*pad_tokens([encoded.tokens])))
        return end

    def _scores(self, tokens_bt: Tensor, lengths_b: Tensor) -> Tensor:
        """[B, labels]; of each row's own timesteps alone, so that neither the rows beside it nor
        its padding change a digit."""
        x, lengths_b = self._stack_inputs(tokens_bt, lengths_b)
        y_bth, _ = self._runner.sequences(x, lengths_b, state_wanted=False)
        return torch.cat(
            [
                self._network.head(y_th[None, :length].clone(), length[None].to(self._device))
                for y_th, length in zip(y_bth, lengths_b, strict=True)
            ]
        )

    def _stack_inputs(self, tokens_bt: Tensor, lengths_b: Tensor) -> tuple[Tensor, Tensor]:
        """What the runner reads, and the rows' lengths among it."""
        network, device = self._network, self._device
        if network.convolution is None:
            return tokens_bt, lengths_b
        read = [
            network.stack_inputs(tokens_t[None, :length].to(device), length[None].to(device))
            for tokens_t, length in zip(tokens_bt, lengths_b, strict=True)
        ]
        x_btd = pad_sequence([x_1td[0] for x_1td, _ in read], batch_first=True)
        return x_btd, torch.cat([length_1 for _, length_1 in read])
