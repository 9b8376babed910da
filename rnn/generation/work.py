"""Generation as training work: truncated back-propagation through one long text."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rnn.config import GenerationConfig
from rnn.data.examples import CorpusExamples
from rnn.determinism import Randomness
from rnn.generation.lanes import TextLanes
from rnn.generation.metrics import text_metrics
from rnn.generation.network import GenerationNetwork
from rnn.state import HiddenState
from rnn.work import BatchLoss, ModelParts

_EVALUATION_LANES = 64
_EVALUATION_SEGMENT = 256
_WARM_UP = 128  # bytes that each lane of an evaluation reads before the ones that count


class GenerationWork:
    """A text with the network that learns to continue it; the end of the text is held out."""

    criterion = "loss_nats"

    def __init__(
        self,
        config: GenerationConfig,
        examples: CorpusExamples,
        device: torch.device,
        randomness: Randomness,
    ) -> None:
        self._config = config
        self._device = device
        self._data = examples.data
        held_out = int(len(examples.data) * config.data.validation_fraction)
        self._first_held_out = len(examples.data) - held_out
        self._lanes = TextLanes(
            examples.data[: self._first_held_out],
            config.training.batch_size,
            config.training.bptt_length,
        )
        self.steps_per_epoch = self._lanes.segments
        self.network = GenerationNetwork(config, randomness).to(device)
        self._state: HiddenState | None = None

    def batch_loss(self, epoch: int, index: int) -> BatchLoss:
        inputs_bt, targets_bt = self._lanes.segment(
            index, seed=self._config.training.seed, epoch=epoch
        )
        if index == 0 or not self._config.training.carry_state:
            self._state = None
        logits_btv, state = self.network(inputs_bt.to(self._device), self._state)
        self._state = state.detach()
        loss = functional.cross_entropy(
            logits_btv.flatten(0, 1).float(), targets_bt.to(self._device).flatten()
        )
        return BatchLoss(loss, targets_bt.numel())

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """The loss of every held-out byte, each predicted from at least the bytes before it that a
        lane warms up on, as far as the text has them."""
        self.network.eval()
        held_out = len(self._data) - self._first_held_out
        lane_length = -(-held_out // min(_EVALUATION_LANES, max(1, held_out // _WARM_UP)))
        starts = np.arange(self._first_held_out, len(self._data), lane_length)
        warm_up = min(_WARM_UP, self._first_held_out - 1)
        # Targets of a lane: the warm-up, not counted, then its own bytes.
        target_bt = starts[:, None] + np.arange(-warm_up, lane_length)
        counted_bt = (target_bt >= starts[:, None]) & (target_bt < len(self._data))
        target_bt = np.minimum(target_bt, len(self._data) - 1)
        state: HiddenState | None = None
        total = 0.0
        for begin in range(0, target_bt.shape[1], _EVALUATION_SEGMENT):
            columns = slice(begin, begin + _EVALUATION_SEGMENT)
            targets = self._tokens(target_bt[:, columns])
            logits_btv, state = self.network(self._tokens(target_bt[:, columns] - 1), state)
            loss_n = functional.cross_entropy(
                logits_btv.flatten(0, 1), targets.flatten(), reduction="none"
            )
            counted_n = torch.from_numpy(counted_bt[:, columns].ravel()).to(self._device)
            total += float((loss_n * counted_n).double().sum())
        return text_metrics(total / held_out)

    def _tokens(self, index_bt: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._data[index_bt].astype(np.int64)).to(self._device)

    def test(self) -> dict[str, float]:
        return {}

    def carried_state(self) -> dict[str, Tensor]:
        if self._state is None:
            return {}
        tensors = {"hidden": self._state.hidden_lbh}
        if self._state.memory_lbm is not None:
            tensors["cell"] = self._state.memory_lbm
        return tensors

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self._state = HiddenState(tensors["hidden"], tensors.get("cell"))

    def model_parts(self) -> ModelParts:
        return ModelParts()
