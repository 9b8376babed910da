"""Choosing the next token: per-row settings, each row independent of its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnn.errors import ConfigError

# Scores divided by less leave the best token alone, except where two are equal to the last digits.
LOWEST_TEMPERATURE = 1e-6


@dataclass(frozen=True)
class SamplingSettings:
    """How one row's tokens are chosen.

    Attributes:
        temperature: divides the scores; below LOWEST_TEMPERATURE the best token is taken always.
        top_k: only so many of the best tokens; None: all.
        top_p: only the best tokens that together reach this probability (Holtzman et al. 2020).
        min_p: only tokens at least this share as probable as the best one.
        repetition_penalty: above 1, makes tokens of the history less probable (Keskar et al. 2019).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise ConfigError(f"temperature must lie between 0 and 100, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k must be at least 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie above 0 and at most at 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p must lie between 0 and 1, not {self.min_p}")
        if not 0 < self.repetition_penalty <= 100:
            raise ConfigError(
                f"repetition_penalty must lie above 0 and at most at 100, "
                f"not {self.repetition_penalty}"
            )


@torch.inference_mode()
def sample(
    logits_bv: Tensor,
    settings: Sequence[SamplingSettings],
    histories: Sequence[Sequence[int]],
    generators: Sequence[torch.Generator],
) -> tuple[list[int], list[float]]:
    """One token for each row, and its log-probability under the network before any setting.

    Args:
        logits_bv: [B, V] scores.
        settings, histories, generators: one for each row; a history holds the tokens that the
            repetition penalty counts. A row that takes the best token draws no random number.
    """
    logprobs_bv = torch.log_softmax(logits_bv.float(), dim=1)
    scores_bv = _penalised(logprobs_bv, settings, histories)
    greedy = [row.temperature < LOWEST_TEMPERATURE for row in settings]
    chosen_b = scores_bv.argmax(dim=1)
    if not all(greedy):
        # A float32 would round a small temperature, and dividing by it could overflow.
        below_best_bv = scores_bv.double() - scores_bv.double().amax(dim=1, keepdim=True)
        temperature_b = below_best_bv.new_tensor(
            [1.0 if skip else row.temperature for row, skip in zip(settings, greedy, strict=True)]
        )
        sampled_b = _sampled(below_best_bv / temperature_b[:, None], settings, generators, greedy)
        chosen_b = torch.where(torch.tensor(greedy, device=chosen_b.device), chosen_b, sampled_b)
    logprob_b = logprobs_bv.gather(1, chosen_b[:, None])[:, 0]
    return chosen_b.tolist(), logprob_b.tolist()


def _penalised(
    scores_bv: Tensor, settings: Sequence[SamplingSettings], histories: Sequence[Sequence[int]]
) -> Tensor:
    if all(row.repetition_penalty == 1 for row in settings):
        return scores_bv
    seen_bv = np.zeros(scores_bv.shape, dtype=np.bool_)
    for row, history in enumerate(histories):
        seen_bv[row, list(history)] = True
    penalty_b = scores_bv.new_tensor([row.repetition_penalty for row in settings])
    # Log-probabilities are never positive, so the penalty multiplies: always towards less probable.
    seen = torch.from_numpy(seen_bv).to(scores_bv.device)
    return torch.where(seen, scores_bv * penalty_b[:, None], scores_bv)


def _sampled(
    scores_bv: Tensor,
    settings: Sequence[SamplingSettings],
    generators: Sequence[torch.Generator],
    greedy: Sequence[bool],
) -> Tensor:
    """Draws by the inverse of the cumulative distribution: one uniform number a row and token.

    Args:
        scores_bv: float64 [B, V], divided by the temperatures.
    """
    vocabulary = scores_bv.shape[1]
    uniform_b1 = scores_bv.new_tensor(
        [
            # A greedy row's number is not used; its generator must not move.
            0.5 if skip else float(torch.rand((), generator=generator, dtype=torch.float64))
            for generator, skip in zip(generators, greedy, strict=True)
        ]
    )[:, None]
    probability_bv = torch.softmax(scores_bv, dim=1)
    plain_b = _inverse(probability_bv.cumsum(dim=1), uniform_b1)
    filtered = [bool(row.top_k or row.top_p < 1 or row.min_p > 0) for row in settings]
    if not any(filtered):
        return plain_b
    sorted_bv, token_bv = probability_bv.sort(dim=1, descending=True, stable=True)
    rank_v = torch.arange(vocabulary, device=scores_bv.device)
    top_k_b1 = torch.tensor([[row.top_k or vocabulary] for row in settings], device=rank_v.device)
    top_p_b1 = sorted_bv.new_tensor([[row.top_p] for row in settings])
    min_p_b1 = sorted_bv.new_tensor([[row.min_p] for row in settings])
    before_bv = sorted_bv.cumsum(dim=1) - sorted_bv
    kept_bv = (
        (rank_v < top_k_b1)
        & ((before_bv < top_p_b1) | (top_p_b1 == 1))
        & (sorted_bv >= min_p_b1 * sorted_bv[:, :1])
    )
    kept_bv[:, 0] = True  # the best token always stays
    cumulative_bv = torch.where(kept_bv, sorted_bv, 0).cumsum(dim=1)
    place_b = _inverse(cumulative_bv, uniform_b1)
    # The same number picks another token in another order: a row keeps the order that it has alone.
    filtered_b = torch.tensor(filtered, device=plain_b.device)
    return torch.where(filtered_b, token_bv.gather(1, place_b[:, None])[:, 0], plain_b)


def _inverse(cumulative_bv: Tensor, uniform_b1: Tensor) -> Tensor:
    """The first place whose cumulative weight passes the uniform share of the total."""
    total_b1 = cumulative_bv[:, -1:]
    place_b1 = torch.searchsorted(cumulative_bv, uniform_b1 * total_b1, right=True)
    return place_b1[:, 0].clamp(max=cumulative_bv.shape[1] - 1)
