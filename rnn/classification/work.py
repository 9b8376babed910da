"""Classification as training work: texts of similar length together, split by label."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rnn.classification.metrics import classification_metrics
from rnn.classification.network import ClassificationNetwork
from rnn.classification.padding import pad_tokens
from rnn.config import ClassificationConfig
from rnn.data.examples import TextExamples
from rnn.data.splits import bucketed_batches, stratified_split
from rnn.determinism import Randomness
from rnn.errors import DataTooSmallError
from rnn.tokenizers import EncodedText, WordTokenizer
from rnn.work import BatchLoss, ModelParts

IntArray = NDArray[np.int64]

_EVALUATION_ROWS = 128


class ClassificationWork:
    """Labelled texts with the network that learns to tell the labels apart."""

    criterion = "loss"

    def __init__(
        self,
        config: ClassificationConfig,
        examples: TextExamples,
        device: torch.device,
        randomness: Randomness,
    ) -> None:
        self._config = config
        self._device = device
        self._training_n, self._validation_n, self._test_n = _split(config, examples)
        self._labels = sorted(set(examples.labels))
        numbers = {label: number for number, label in enumerate(self._labels)}
        self._targets_n = np.array([numbers[label] for label in examples.labels])
        data = config.data
        self._tokenizer = WordTokenizer.learn(
            (examples.texts[index] for index in self._training_n),
            vocabulary_size=data.vocabulary_size,
            min_frequency=data.min_frequency,
        )
        self._encoded: list[EncodedText] = self._tokenizer.encode(
            examples.texts, max_tokens=data.max_tokens
        )
        self._training_lengths = [len(self._encoded[index].tokens) for index in self._training_n]
        self.network = ClassificationNetwork(
            config, self._tokenizer.vocabulary_size, len(self._labels), randomness
        ).to(device)
        self.steps_per_epoch = len(self._epoch_batches(0))
        self._batches: tuple[int, list[IntArray]] = (-1, [])

    def _epoch_batches(self, epoch: int) -> list[IntArray]:
        training = self._config.training
        return bucketed_batches(
            self._training_lengths, training.batch_size, seed=training.seed, epoch=epoch
        )

    def batch_loss(self, epoch: int, index: int) -> BatchLoss:
        if self._batches[0] != epoch:
            self._batches = (epoch, self._epoch_batches(epoch))
        rows = self._training_n[self._batches[1][index]]
        logits_bc, timesteps = self._logits(rows)
        targets_b = torch.from_numpy(self._targets_n[rows]).to(self._device)
        return BatchLoss(functional.cross_entropy(logits_bc.float(), targets_b), timesteps)

    def _logits(self, rows: Sequence[int] | IntArray) -> tuple[Tensor, int]:
        tokens_bt, lengths_b = pad_tokens([self._encoded[index].tokens for index in rows])
        timesteps = int(lengths_b.sum())
        return self.network(tokens_bt.to(self._device), lengths_b.to(self._device)), timesteps

    @torch.inference_mode()
    def _metrics(self, rows: IntArray) -> dict[str, float]:
        self.network.eval()
        by_length = sorted(rows, key=lambda index: len(self._encoded[index].tokens))
        logits = [
            self._logits(by_length[start : start + _EVALUATION_ROWS])[0].double().cpu().numpy()
            for start in range(0, len(by_length), _EVALUATION_ROWS)
        ]
        return classification_metrics(np.concatenate(logits), self._targets_n[by_length])

    def evaluate(self) -> dict[str, float]:
        return self._metrics(self._validation_n)

    def test(self) -> dict[str, float]:
        if not len(self._test_n):
            return {}
        return {f"test_{name}": value for name, value in self._metrics(self._test_n).items()}

    def carried_state(self) -> dict[str, Tensor]:
        return {}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        pass

    def model_parts(self) -> ModelParts:
        return ModelParts({"labels": self._labels}, self._tokenizer)


def _split(
    config: ClassificationConfig, examples: TextExamples
) -> tuple[IntArray, IntArray, IntArray]:
    """Training, validation and test indices. The data set's own validation part is used if it has
    one; otherwise a share of its training part."""
    splits_n = np.array(examples.splits or ["train"] * len(examples.texts))
    training_n = np.flatnonzero(splits_n == "train")
    validation_n = np.flatnonzero(splits_n == "validation")
    if not len(validation_n):
        inner_n, held_out_n = stratified_split(
            [examples.labels[index] for index in training_n],
            config.data.validation_fraction,
            seed=config.training.seed,
        )
        training_n, validation_n = training_n[inner_n], training_n[held_out_n]
    labels = {examples.labels[index] for index in training_n}
    if len(labels) < 2 or not len(validation_n):
        raise DataTooSmallError(
            f"text-classification needs at least 2 labels to learn from and a held-out text; the "
            f"training part has {len(labels)} and {len(validation_n)} texts are held out"
        )
    return training_n, validation_n, np.flatnonzero(splits_n == "test")
