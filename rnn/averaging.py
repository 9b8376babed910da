"""Averages of the weights of many steps, which are judged and published in place of the last ones.

An average of weights lies nearer to the middle of the valley that the last steps run about in
(Polyak and Juditsky 1992).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rnn.config import TrainingConfig

# Evaluations without a better loss after which a triggered average begins (Merity, Keskar and
# Socher 2018 take 5 too).
TRIGGER_EVALUATIONS = 5

# The newest step's share in a young average is this by the number of steps: about a third of them
# are in it.
_YOUNG = 3


class WeightAverage:
    """The average that a configuration asks for, of the weights of one network; or none."""

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        self._network = network
        self._decay = config.averaging_decay if config.averaging == "exponential" else None
        patience = config.early_stopping_patience
        self._trigger = min(TRIGGER_EVALUATIONS, patience or TRIGGER_EVALUATIONS)
        self._waits = config.averaging == "triggered"
        self._steps = 0
        self._average: dict[str, Tensor] = {}
        if config.averaging == "exponential":
            self.begin()

    @property
    def begun(self) -> bool:
        return bool(self._average)

    def triggered(self, evaluations_since_best: int) -> bool:
        """Whether an average that waits for it shall begin now: the held-out loss has stopped
        falling."""
        return self._waits and not self.begun and evaluations_since_best >= self._trigger

    def begin(self) -> None:
        """Averages from the next step on."""
        self._steps = 0
        self._average = {
            name: parameter.detach().clone() for name, parameter in self._network.named_parameters()
        }

    @torch.no_grad()
    def step(self) -> None:
        """Takes the weights after one more step in. While an exponential average is young it spans
        the last third of the steps there were, so that their start does not pull at it."""
        if not self.begun:
            return
        self._steps += 1
        if self._decay is None:
            share = 1 / self._steps
        else:
            share = max(1 - self._decay, _YOUNG / (self._steps - 1 + _YOUNG))
        weights = dict(self._network.named_parameters())
        for name, average in self._average.items():
            average.lerp_(weights[name], share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has the averaged weights, where there are any."""
        if not self._steps:
            yield
            return
        weights = dict(self._network.named_parameters())
        kept = {name: parameter.detach().clone() for name, parameter in weights.items()}
        _copy(self._average, weights)
        try:
            yield
        finally:
            _copy(kept, weights)

    def state_tensors(self) -> dict[str, Tensor]:
        """What must be saved so that a resumed training goes on averaging."""
        if not self.begun:
            return {}
        return {**self._average, "steps": torch.tensor(self._steps)}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Gives back what `state_tensors` took."""
        self._average = {
            name: tensor.clone() for name, tensor in tensors.items() if name != "steps"
        }
        self._steps = int(tensors["steps"]) if tensors else 0


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, nn.Parameter]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)
