"""How well a trained network predicts a text: as it is, with a cache, or learning as it reads.

All figures are mean losses in nats a token. The parameters of a cache and of dynamic evaluation are
chosen on another part of the text than the one that is judged.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.generation.corpus import Part
from rnn.generation.lanes import TokenArray
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.state import HiddenState
from rnn.work import LossSum

_LANES = 64
_SEGMENT = 256
_WARM_UP = 128  # tokens that are read before the ones that count
_CHOOSING_TOKENS = 20_000  # at most, to choose a parameter by
_SERVED_TOKENS = 16_384
_SERVED_STEPS = 32  # in one piece

CACHE_SIZE = 2_000
# A flatness is chosen so that a state differs by so many nats from one that has nothing in common.
_CACHE_NATS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_CACHE_WEIGHTS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)

DYNAMIC_SEGMENT = 20
DYNAMIC_RATES = (1e-5, 3e-5, 1e-4, 2e-4, 5e-4, 1e-3)
_DYNAMIC_DECAY = 0.02
_DYNAMIC_FLOOR = 1e-5  # added to the root mean square of a weight's gradients


@torch.inference_mode()
def static_loss(network: GenerationNetwork, tokens: TokenArray, part: Part) -> float:
    """Every token of a part is predicted by the network as it is, from at least the tokens before
    it that a lane warms up on, as far as the text has them."""
    network.eval()
    device = network.embedding.weight.device
    target_bt, counted_bt = _lanes(part)
    state: HiddenState | None = None
    total = 0.0
    for begin in range(0, target_bt.shape[1], _SEGMENT):
        columns = slice(begin, begin + _SEGMENT)
        inputs_bt = _tensor(tokens[target_bt[:, columns] - 1], device)
        y_bth, state = network.outputs(inputs_bt, state)
        loss_bt = network.losses(y_bth, _tensor(tokens[target_bt[:, columns]], device))
        counted = torch.from_numpy(counted_bt[:, columns]).to(device)
        total += float((loss_bt * counted).double().sum())
    return total / part.tokens


@torch.inference_mode()
def served_losses(generator: Generator, tokens: TokenArray, part: Part) -> Iterator[LossSum]:
    """Likewise of the beginning of a part, as texts are generated: timestep by timestep. What the
    lanes warm up on comes with the first piece."""
    target_bt, counted_bt = _lanes(_beginning(part, _SERVED_TOKENS))
    state = generator.initial_state(len(target_bt))
    total, positions = 0.0, 0
    for column in range(target_bt.shape[1]):
        target_b, counted_b = target_bt[:, column], torch.from_numpy(counted_bt[:, column])
        scores_bv, state = generator.step(_tensor(tokens[target_b - 1], torch.device("cpu")), state)
        if counted_b.any():
            targets_b1 = torch.from_numpy(tokens[target_b].astype(np.int64))[:, None]
            loss_b = -torch.log_softmax(scores_bv, dim=1).gather(1, targets_b1)[:, 0]
            total += float(loss_b[counted_b].double().sum())
            positions += int(counted_b.sum())
        if positions and (column % _SERVED_STEPS == 0 or column == target_bt.shape[1] - 1):
            yield LossSum(total, positions)
            total, positions = 0.0, 0


def _lanes(part: Part) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places [B, T] of the targets of each lane: a warm-up, not counted, then its own tokens. And
    which count."""
    lane_length = -(-part.tokens // min(_LANES, max(1, part.tokens // _WARM_UP)))
    starts = np.arange(part.first, part.end, lane_length)
    warm_up = min(_WARM_UP, part.first - 1)
    target_bt = starts[:, None] + np.arange(-warm_up, lane_length)
    counted_bt = (target_bt >= starts[:, None]) & (target_bt < part.end)
    return np.minimum(target_bt, part.end - 1), counted_bt


@dataclass(frozen=True)
class CacheSettings:
    """flatness: what the products of hidden states are multiplied with; weight: of the cache's
    distribution beside the network's."""

    flatness: float
    weight: float


@torch.inference_mode()
def cache_losses(
    network: GenerationNetwork,
    tokens: TokenArray,
    part: Part,
    settings: Sequence[CacheSettings],
    *,
    size: int = CACHE_SIZE,
) -> list[float]:
    """The loss for each of the settings with a neural cache (Grave et al. 2017, "Improving Neural
    Language Models with a Continuous Cache"): the tokens that followed the last `size` outputs are
    made likelier, each by how much like the present output its own was."""
    network.eval()
    totals = torch.zeros(len(settings), dtype=torch.float64)
    kept_y, kept_targets = None, None
    for y_th, targets_t, loss_t in _read_on(network, tokens, part):
        kept_y = y_th if kept_y is None else torch.cat([kept_y, y_th])
        kept_targets = targets_t if kept_targets is None else torch.cat([kept_targets, targets_t])
        length, seen = len(y_th), len(kept_y)
        product_ts = y_th @ kept_y.T
        age_ts = torch.arange(seen - length, seen)[:, None] - torch.arange(seen)
        outside_ts = ((age_ts < 1) | (age_ts > size)).to(y_th.device)
        same_ts = targets_t[:, None] == kept_targets
        cached = {}
        for flatness in {chosen.flatness for chosen in settings}:
            scores_ts = (flatness * product_ts).masked_fill(outside_ts, -torch.inf)
            cached[flatness] = (torch.softmax(scores_ts, dim=1) * same_ts).sum(1)
        for index, chosen in enumerate(settings):
            cached_t = cached[chosen.flatness]
            mixed_t = torch.logaddexp(
                math.log1p(-chosen.weight) - loss_t, math.log(chosen.weight) + cached_t.log()
            )
            # An empty cache, before the first token, gives not-a-number: it has no say.
            mixed_t = torch.where(cached_t.isnan(), -loss_t, mixed_t)
            totals[index] -= mixed_t.double().sum().cpu()
        kept_y, kept_targets = kept_y[-size:], kept_targets[-size:]
    return (totals / part.tokens).tolist()


def choose_cache(network: GenerationNetwork, tokens: TokenArray, part: Part) -> CacheSettings:
    """The settings with the least loss on a part."""
    part = _beginning(part, _CHOOSING_TOKENS)
    with torch.inference_mode():
        network.eval()
        y_th, _, _ = next(_read_on(network, tokens, part))
        squared_norm = float(y_th.square().sum(1).mean())
    grid = [
        CacheSettings(nats / max(squared_norm, 1e-12), weight)
        for nats, weight in product(_CACHE_NATS, _CACHE_WEIGHTS)
    ]
    return grid[_least(cache_losses(network, tokens, part, grid))]


def mean_squared_gradients(
    network: GenerationNetwork, batches: Iterable[tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """For each parameter, the mean over batches of its squared gradients.

    Args:
        batches: inputs and targets [B, T], each going on where the one before it ended.
    """
    network.eval()
    parameters = list(network.parameters())
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    state: HiddenState | None = None
    count = 0
    for inputs_bt, targets_bt in batches:
        y_bth, end = network.outputs(inputs_bt, state)
        state = end.detach()
        gradients = _gradients(network.mean_loss(y_bth, targets_bt), parameters)
        for square, gradient in zip(squares, gradients, strict=True):
            square.addcmul_(gradient, gradient)
        count += 1
    return [square / count for square in squares]


def dynamic_loss(
    network: GenerationNetwork,
    tokens: TokenArray,
    part: Part,
    squares: Sequence[Tensor],
    rate: float,
) -> float:
    """The loss of a network that takes a step after each few tokens and falls back towards what it
    was (Krause et al. 2018, "Dynamic Evaluation of Neural Sequence Models", with RMS-normalised
    gradients and decay). Each token is predicted before it is learned from; afterwards the network
    is what it was.

    Args:
        squares: of `mean_squared_gradients`.
    """
    network.eval()
    parameters = list(network.parameters())
    trained = [parameter.detach().clone() for parameter in parameters]
    roots = [square.sqrt() for square in squares]
    mean_root = sum(float(root.double().sum()) for root in roots) / sum(map(torch.numel, roots))
    decays = [(_DYNAMIC_DECAY * root / max(mean_root, 1e-30)).clamp(max=1) for root in roots]
    total = 0.0
    state: HiddenState | None = None
    try:
        for inputs_1t, targets_1t, counted in _pieces(network, tokens, part, DYNAMIC_SEGMENT):
            y_1th, end = network.outputs(inputs_1t, state)
            state = end.detach()
            loss = network.mean_loss(y_1th, targets_1t)
            if not counted:
                continue
            total += float(loss.detach()) * targets_1t.numel()
            gradients = _gradients(loss, parameters)
            with torch.no_grad():
                for parameter, start, root, decay, gradient in zip(
                    parameters, trained, roots, decays, gradients, strict=True
                ):
                    parameter.lerp_(start, decay)
                    parameter.addcdiv_(gradient, root + _DYNAMIC_FLOOR, value=-rate)
    finally:
        with torch.no_grad():
            for parameter, start in zip(parameters, trained, strict=True):
                parameter.copy_(start)
    return total / part.tokens


def choose_dynamic_rate(
    network: GenerationNetwork, tokens: TokenArray, part: Part, squares: Sequence[Tensor]
) -> float:
    """The rate with the least loss on a part."""
    part = _beginning(part, _CHOOSING_TOKENS)
    losses = [dynamic_loss(network, tokens, part, squares, rate) for rate in DYNAMIC_RATES]
    return DYNAMIC_RATES[_least(losses)]


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
    """Zero for what took no part, as the vectors of rare tokens may."""
    return torch.autograd.grad(loss, parameters, materialize_grads=True)


def _least(losses: Sequence[float]) -> int:
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    return finite.index(min(finite))


def _beginning(part: Part, most: int) -> Part:
    return Part(part.first, min(part.end, part.first + most), part.characters)


def _read_on(
    network: GenerationNetwork, tokens: TokenArray, part: Part
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Outputs [T, H], targets [T] and losses [T] of a part, read in one go by an unchanged
    network."""
    state: HiddenState | None = None
    for inputs_1t, targets_1t, counted in _pieces(network, tokens, part, _SEGMENT):
        y_1th, state = network.outputs(inputs_1t, state)
        if counted:
            yield y_1th[0], targets_1t[0], network.losses(y_1th, targets_1t)[0]


def _pieces(
    network: GenerationNetwork, tokens: TokenArray, part: Part, length: int
) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Inputs and targets [1, T] of a part in order, and whether they count: the tokens before it,
    which only warm the network up, do not."""
    device = network.embedding.weight.device
    warm_up = max(part.first - _WARM_UP, 1)
    bounds = [(warm_up, part.first)] if warm_up < part.first else []
    bounds += [(at, min(at + length, part.end)) for at in range(part.first, part.end, length)]
    for first, end in bounds:
        window_1t = _tensor(tokens[None, first - 1 : end], device)
        yield window_1t[:, :-1], window_1t[:, 1:], first >= part.first


def _tensor(tokens: TokenArray, device: torch.device) -> Tensor:
    return torch.from_numpy(tokens.astype(np.int64)).to(device)
