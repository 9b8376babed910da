"""Generation as training work: truncated back-propagation through one long text."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from rnn.checkpoint import Content, Predictor
from rnn.config import GenerationConfig
from rnn.data.examples import CorpusExamples
from rnn.determinism import Randomness
from rnn.errors import DataTooSmallError
from rnn.generation import evaluation
from rnn.generation.continuation import continued
from rnn.generation.corpus import Part, read_corpus
from rnn.generation.lanes import TextLanes
from rnn.generation.metrics import perplexity, text_metrics
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.probe import Probe
from rnn.samples import ContinuedText
from rnn.state import HiddenState
from rnn.transfer import take_weights
from rnn.work import Batch, LossSum, ModelParts, PartLoss, Share

_PROBED_LANES = 8
_MEASURED_BATCHES = 100  # whose gradients dynamic evaluation is scaled by


class GenerationWork:
    """A text with the network that learns to continue it."""

    criterion = "loss_nats"

    def __init__(
        self,
        config: GenerationConfig,
        examples: CorpusExamples,
        device: torch.device,
        randomness: Randomness,
        base: Content | None = None,
    ) -> None:
        self._config = config
        self._device = device
        self._corpus = corpus = read_corpus(examples, config, base.tokenizer if base else None)
        training = config.training
        if corpus.training.tokens < 2 * training.batch_size or not corpus.validation.tokens:
            raise DataTooSmallError(
                f"batch_size {training.batch_size} needs {2 * training.batch_size} tokens of "
                f"training text and at least one held out; the text has "
                f"{corpus.training.tokens} and {corpus.validation.tokens}"
            )
        self._lanes = TextLanes(
            corpus.tokens[: corpus.training.end],
            training.batch_size,
            training.bptt_length,
            random_lengths=training.random_bptt,
        )
        self.steps_per_epoch = self._lanes.segments
        self.network = GenerationNetwork(config, randomness, corpus.vocabulary_size).to(device)
        if base is not None:
            take_weights(self.network, base.tensors)
        self._state: HiddenState | None = None

    def layer_groups(self) -> list[list[nn.Parameter]]:
        embedding = list(self.network.embedding.parameters())
        head = list(self.network.head.parameters())  # tied vectors are the embedding's alone
        return [embedding, *self.network.stack.layer_groups(), head]

    def batch(self, epoch: int, index: int) -> Batch:
        training = self._config.training
        inputs_bt, targets_bt = self._segment(epoch, index)
        lanes, timesteps = targets_bt.shape
        start = None if index == 0 or not training.carry_state else self._state
        ends: list[HiddenState] = []

        def loss(part: slice) -> PartLoss:
            if part.start == 0:
                ends.clear()
            y_bth, end = self.network.outputs(inputs_bt[part], start and start.part(part))
            ends.append(end.detach())
            if part.stop == lanes:
                self._state = ends[0] if len(ends) == 1 else HiddenState.cat(ends)
            targets = targets_bt[part]
            return PartLoss(self.network.mean_loss(y_bth, targets), targets.numel())

        # A gradient over fewer timesteps is noisier (Merity et al. 2018).
        scale = timesteps / training.bptt_length if training.random_bptt else 1.0
        share = partial(Share.even, rows=lanes)
        return Batch(lanes, loss, share, targets_bt.numel(), scale)

    def probe_loss(self, probe: Probe) -> Tensor:
        inputs_bt, targets_bt = self._segment(epoch=0, index=0)
        self.network.eval()
        y_bth, _ = self.network.outputs(inputs_bt[:_PROBED_LANES], probe=probe)
        return self.network.mean_loss(y_bth[:, -1:], targets_bt[:_PROBED_LANES, -1:])

    def _segment(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        seed = self._config.training.seed
        inputs_bt, targets_bt = self._lanes.segment(index, seed=seed, epoch=epoch)
        return inputs_bt.to(self._device), targets_bt.to(self._device)

    def evaluate(self) -> dict[str, float]:
        return self._static_metrics(self._corpus.validation)

    def _static_metrics(self, part: Part) -> dict[str, float]:
        loss = evaluation.static_loss(self.network, self._corpus.tokens, part)
        return text_metrics(loss, max(1, part.characters) / part.tokens)

    def samples(self) -> list[ContinuedText]:
        return [continued(self.network, self._corpus)]

    def calibrate(self) -> dict[str, float]:
        return {}

    def test(self) -> dict[str, float]:
        """As the job asks for; parameters of an evaluation are chosen on the validation part."""
        metrics: dict[str, float] = {}
        if not self._corpus.test.tokens:
            return metrics
        for name in self._config.data.test_evaluations:
            match name:
                case "static":
                    metrics |= self._static_metrics(self._corpus.test)
                case "cache":
                    metrics |= self._cache_metrics()
                case "dynamic":
                    metrics |= self._dynamic_metrics()
        return {f"test_{name}": value for name, value in metrics.items()}

    def _cache_metrics(self) -> dict[str, float]:
        corpus = self._corpus
        settings = evaluation.choose_cache(self.network, corpus.tokens, corpus.validation)
        [loss] = evaluation.cache_losses(self.network, corpus.tokens, corpus.test, [settings])
        return {
            "perplexity_cache": perplexity(loss),
            "cache_flatness": settings.flatness,
            "cache_weight": settings.weight,
        }

    def _dynamic_metrics(self) -> dict[str, float]:
        corpus = self._corpus
        batches = (self._segment(0, index) for index in range(self.steps_per_epoch))
        squares = evaluation.mean_squared_gradients(
            self.network, islice(batches, _MEASURED_BATCHES)
        )
        rate = evaluation.choose_dynamic_rate(
            self.network, corpus.tokens, corpus.validation, squares
        )
        loss = evaluation.dynamic_loss(self.network, corpus.tokens, corpus.test, squares, rate)
        return {"perplexity_dynamic": perplexity(loss), "dynamic_rate": rate}

    def served_losses(self, predictor: Predictor) -> Iterator[LossSum]:
        assert isinstance(predictor, Generator)
        corpus = self._corpus
        return evaluation.served_losses(predictor, corpus.tokens, corpus.validation)

    def carried_state(self) -> dict[str, Tensor]:
        if self._state is None:
            return {}
        tensors = {"hidden": self._state.hidden_lbh}
        if self._state.memory_lbm is not None:
            tensors["cell"] = self._state.memory_lbm
        return tensors

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        self._state = None
        if tensors:
            self._state = HiddenState(tensors["hidden"], tensors.get("cell"))

    def model_parts(self) -> ModelParts:
        return ModelParts(tokenizer=self._corpus.tokenizer)
