"""Classification as training work: texts of similar length together, split by label."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rnn.checkpoint import Content, Predictor
from rnn.classification.calibration import fit_temperature
from rnn.classification.metrics import classification_metrics
from rnn.classification.network import ClassificationNetwork
from rnn.classification.padding import pad_tokens
from rnn.classification.predictor import Classifier
from rnn.classification.reading import Reader, learn_reader, make_reader
from rnn.config import ClassificationConfig
from rnn.data.examples import TextExamples
from rnn.data.splits import bucketed_batches, stratified_split
from rnn.determinism import Randomness
from rnn.errors import DataTooSmallError
from rnn.precision import float32_or_better
from rnn.probe import Probe
from rnn.samples import LabelledText, shortened
from rnn.tokenizers import EncodedText, WordTokenizer
from rnn.transfer import take_weights
from rnn.work import Batch, LossSum, ModelParts, PartLoss, Share

IntArray = NDArray[np.int64]

_EVALUATION_ROWS = 128
_SERVED_TEXTS = 1_024
_SHOWN_TEXTS = 8
_PROBE_ROWS = 8


class ClassificationWork:
    """Labelled texts with the network that learns to tell the labels apart.

    From a base, a classifier or a language model, come the tokenizer and all weights but the
    head's; those too where the base tells the same labels apart.
    """

    criterion = "loss"

    def __init__(
        self,
        config: ClassificationConfig,
        examples: TextExamples,
        device: torch.device,
        randomness: Randomness,
        base: Content | None = None,
    ) -> None:
        self._config = config
        self._device = device
        self._training_n, self._validation_n, self._test_n = _split(config, examples)
        self._labels = sorted(set(examples.labels))
        numbers = {label: number for number, label in enumerate(self._labels)}
        self._targets_n = np.array([numbers[label] for label in examples.labels])
        data = config.data
        if base is None:
            learned_from = [examples.texts[index] for index in self._training_n]
            self._reader: Reader = learn_reader(learned_from, data)
        else:
            self._reader = make_reader(base.token_name, base.tokenizer)
        self._encoded: list[EncodedText] = self._reader.encode(
            examples.texts, max_tokens=data.max_tokens, truncation=data.truncation
        )
        self._training_lengths = [len(self._encoded[index].tokens) for index in self._training_n]
        self.network = ClassificationNetwork(
            config, self._reader.vocabulary_size, len(self._labels), randomness
        ).to(device)
        if base is not None:
            knows_labels = base.values.get("labels") == self._labels
            take_weights(self.network, base.tensors, anew=() if knows_labels else ("head",))
        self._temperature = 1.0
        self._shown_n = _thinned(self._validation_n, _SHOWN_TEXTS)
        self._shown_texts = [shortened(examples.texts[row]) for row in self._shown_n]
        self.steps_per_epoch = len(self._epoch_batches(0))
        self._batches: tuple[int, list[IntArray]] = (-1, [])

    def layer_groups(self) -> list[list[nn.Parameter]]:
        network = self.network
        first = list(network.embedding.parameters())
        if network.convolution is not None:
            first += network.convolution.parameters()
        return [first, *network.stack.layer_groups(), list(network.head.parameters())]

    def _epoch_batches(self, epoch: int) -> list[IntArray]:
        training = self._config.training
        return bucketed_batches(
            self._training_lengths, training.batch_size, seed=training.seed, epoch=epoch
        )

    def batch(self, epoch: int, index: int) -> Batch:
        if self._batches[0] != epoch:
            self._batches = (epoch, self._epoch_batches(epoch))
        places = self._batches[1][index]
        rows = self._training_n[places]
        timesteps = sum(self._training_lengths[place] for place in places)
        loss, share = partial(self._part_loss, rows), partial(self._share, rows)
        return Batch(len(rows), loss, share, timesteps)

    def _part_loss(self, rows: IntArray, part: slice) -> PartLoss:
        rows = rows[part]
        tokens_bt, lengths_b = pad_tokens([self._encoded[index].tokens for index in rows])
        logits_bc = self.network(tokens_bt.to(self._device), lengths_b.to(self._device))
        loss = functional.cross_entropy(
            float32_or_better(logits_bc),
            self._targets(rows).to(self._device),
            label_smoothing=self._config.training.label_smoothing,
        )
        return PartLoss(loss, int(lengths_b.sum()))

    def _share(self, rows: IntArray, part: slice) -> Share:
        lengths_b = torch.tensor([len(self._encoded[index].tokens) for index in rows])
        outputs_b = self.network.output_lengths(lengths_b)
        outputs, all_outputs = int(outputs_b[part].sum()), int(outputs_b.sum())
        here, everywhere = len(outputs_b[part]), len(outputs_b)
        return Share(
            here / everywhere,
            outputs / all_outputs,
            (outputs - here) / max(1, all_outputs - everywhere),
        )

    def probe_loss(self, probe: Probe) -> Tensor:
        """Of the longest texts, cut to the shortest of them."""
        self.network.eval()
        longest = np.argsort(self._training_lengths, kind="stable")[-_PROBE_ROWS:]
        length = self._training_lengths[longest[0]]
        rows = self._training_n[longest]
        tokens_bt, lengths_b = pad_tokens([self._encoded[row].tokens[:length] for row in rows])
        logits_bc = self.network(tokens_bt.to(self._device), lengths_b.to(self._device), probe)
        return functional.cross_entropy(logits_bc, self._targets(rows).to(self._device))

    def _targets(self, rows: IntArray) -> Tensor:
        return torch.from_numpy(self._targets_n[rows])

    def evaluate(self) -> dict[str, float]:
        return classification_metrics(*self._scored(self._validation_n))

    @torch.inference_mode()
    def samples(self) -> list[LabelledText]:
        self.network.eval()
        rows = self._shown_n
        tokens_bt, lengths_b = pad_tokens([self._encoded[row].tokens for row in rows])
        logits_bc = self.network(tokens_bt.to(self._device), lengths_b.to(self._device))
        score_b, best_b = torch.softmax(logits_bc.double().cpu(), dim=1).max(dim=1)
        names = [shortened(label) for label in self._labels]
        return [
            LabelledText(text, names[self._targets_n[row]], names[best], score)
            for text, row, best, score in zip(
                self._shown_texts, rows, best_b.tolist(), score_b.tolist(), strict=True
            )
        ]

    def calibrate(self) -> dict[str, float]:
        logits_bc, targets_b = self._scored(self._validation_n)
        self._temperature = fit_temperature(logits_bc, targets_b)
        return {"temperature": self._temperature, **self._calibration_errors(logits_bc, targets_b)}

    def test(self) -> dict[str, float]:
        if not len(self._test_n):
            return {}
        logits_bc, targets_b = self._scored(self._test_n)
        metrics = classification_metrics(logits_bc, targets_b, self._temperature)
        metrics |= self._calibration_errors(logits_bc, targets_b)
        return {f"test_{name}": value for name, value in metrics.items()}

    def _calibration_errors(self, logits_bc: Tensor, targets_b: Tensor) -> dict[str, float]:
        """With the temperature and without it."""
        scaled, unscaled = (
            classification_metrics(logits_bc, targets_b, temperature)["calibration_error"]
            for temperature in (self._temperature, 1.0)
        )
        return {"calibration_error": scaled, "calibration_error_unscaled": unscaled}

    @torch.inference_mode()
    def _scored(self, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Scores [B, labels] and labels [B] of texts, the shortest first, on the CPU."""
        self.network.eval()
        by_length = np.array(sorted(rows, key=lambda row: len(self._encoded[row].tokens)))
        logits = []
        for start in range(0, len(by_length), _EVALUATION_ROWS):
            batch = by_length[start : start + _EVALUATION_ROWS]
            tokens_bt, lengths_b = pad_tokens([self._encoded[row].tokens for row in batch])
            logits.append(self.network(tokens_bt.to(self._device), lengths_b.to(self._device)))
        return torch.cat(logits).cpu(), self._targets(by_length)

    @torch.inference_mode()
    def served_losses(self, predictor: Predictor) -> Iterator[LossSum]:
        assert isinstance(predictor, Classifier)
        served_n = _thinned(self._validation_n, _SERVED_TEXTS)
        for start in range(0, len(served_n), _EVALUATION_ROWS):
            rows = served_n[start : start + _EVALUATION_ROWS]
            found = predictor.classify_encoded([self._encoded[row] for row in rows])
            likelihood_b = found.probabilities_bc[np.arange(len(rows)), self._targets_n[rows]]
            # One that is too small for a double is no infinite loss.
            losses_b = -np.log(np.maximum(likelihood_b, np.finfo(np.float64).tiny))
            yield LossSum(float(losses_b.sum()), len(rows))

    def carried_state(self) -> dict[str, Tensor]:
        return {}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        pass

    def model_parts(self) -> ModelParts:
        values: dict[str, Any] = {"labels": self._labels, "temperature": self._temperature}
        if isinstance(self._reader, WordTokenizer):
            return ModelParts(values, self._reader)
        values["tokenizer"] = self._reader.name
        return ModelParts(values, self._reader.learned)


def _thinned(rows: IntArray, most: int) -> IntArray:
    """At most so many of them, at equal distances."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)
    kept: IntArray = rows[places]
    return kept


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
            [examples.texts[index] for index in training_n],
            config.data.validation_fraction,
        )
        training_n, validation_n = training_n[inner_n], training_n[held_out_n]
    labels = {examples.labels[index] for index in training_n}
    if len(labels) < 2 or not len(validation_n):
        raise DataTooSmallError(
            f"text-classification needs at least 2 labels to learn from and a held-out text; the "
            f"training part has {len(labels)} and {len(validation_n)} texts are held out"
        )
    return training_n, validation_n, np.flatnonzero(splits_n == "test")
