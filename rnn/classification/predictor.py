"""A trained classifier as a function of texts.

It runs without gradients and keeps no state of its own, so one thread may call it for many callers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rnn.classification.network import ClassificationNetwork
from rnn.classification.padding import pad_tokens
from rnn.config import ClassificationConfig
from rnn.runner import make_runner
from rnn.tokenizers import WordTokenizer

FloatArray = NDArray[np.float64]

_ROWS_PER_BATCH = 64


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
