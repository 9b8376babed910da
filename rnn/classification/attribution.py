"""What each token of a text adds to a score: integrated gradients.

The gradient of the score along the straight way from a baseline to the tokens' vectors, times that
way (Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks"). What the tokens
add then sums to the difference of the score between the two ends.

The baseline is the same number of zero vectors: dropout shows a network those for what it leaves
out. The way is taken in pieces. The score at both ends of each says how much its attributions miss,
and pieces that miss most are halved until all together miss no more than is allowed.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray: TypeAlias = NDArray[np.float64]
Score: TypeAlias = Callable[[Tensor], Tensor]  # of vectors [B, T, D], each row by itself: [B]

LARGEST_GAP: Final = 0.01
"""What attributions may miss, as a share of all that the tokens add, or of 1 where that is less."""
MOST_PIECES: Final = 64
"""Pieces that the score is asked for, each at its five points, however much is missed then."""
TIMESTEPS_PER_TURN: Final = 1024
"""Of all points together that are read before others are served; at least one text."""

# Short where networks bend most: small vectors saturate nothing, and layer norms enlarge them.
_FIRST_ENDS = (0, 1 / 64, 1 / 16, 1 / 4, 1)
# Gauss-Lobatto quadrature of [0, 1]: exact for polynomials up to degree 7, with both ends.
_OUTER = (1 - np.sqrt(3 / 7)) / 2
_POINTS = np.array([0, _OUTER, 1 / 2, 1 - _OUTER, 1])
_WEIGHTS = np.array([9, 49, 64, 49, 9]) / 180


@dataclass(frozen=True)
class Attribution:
    """What the tokens of a text add to a score.

    Attributes:
        score: of the text.
        baseline: the score of as many zero vectors.
        added_t: [T], what each token adds.
    """

    score: float
    baseline: float
    added_t: FloatArray

    @property
    def gap(self) -> float:
        """What the score lies above the baseline with all that the tokens add."""
        return self.score - self.baseline - float(self.added_t.sum())


@dataclass(frozen=True)
class _Piece:
    begin: float
    end: float
    score_begin: float
    score_end: float
    added_t: FloatArray

    @property
    def gap(self) -> float:
        return abs(self.score_end - self.score_begin - float(self.added_t.sum()))


def integrated_gradients(score: Score, x_td: Tensor) -> Generator[None, None, Attribution]:
    """The attribution of tokens with the vectors [T, D], in turns."""
    wanted: list[tuple[float, float]] = list(pairwise(_FIRST_ENDS))
    pieces: list[_Piece] = []
    left = MOST_PIECES
    while wanted:
        pieces += yield from _measured(score, x_td, wanted)
        left -= len(wanted)
        missed = sum(piece.gap for piece in pieces)
        added = sum(piece.score_end - piece.score_begin for piece in pieces)
        if missed <= LARGEST_GAP * max(1, abs(added)):
            break
        # The fewest pieces that miss half of it: mostly there is one place where a score bends.
        pieces.sort(key=lambda piece: piece.gap)
        wanted = []
        while sum(piece.gap for piece in pieces) > missed / 2 and len(wanted) + 2 <= left:
            piece = pieces.pop()
            middle = (piece.begin + piece.end) / 2
            wanted += [(piece.begin, middle), (middle, piece.end)]
    pieces.sort(key=lambda piece: piece.begin)
    added_t = np.sum([piece.added_t for piece in pieces], axis=0)
    return Attribution(pieces[-1].score_end, pieces[0].score_begin, added_t)


def _measured(
    score: Score, x_td: Tensor, ends: Sequence[tuple[float, float]]
) -> Generator[None, None, list[_Piece]]:
    begin_p, end_p = np.array(ends).T
    share_p5 = begin_p[:, None] + (end_p - begin_p)[:, None] * _POINTS
    share_p5[:, -1] = end_p
    # The end of a piece is the beginning of its neighbour.
    share_n, place = np.unique(share_p5, return_inverse=True)
    scores, slopes = [], []
    rows = max(1, TIMESTEPS_PER_TURN // len(x_td))
    for start in range(0, len(share_n), rows):
        if start:
            yield
        score_b, slope_bt = _along(score, x_td, share_n[start : start + rows])
        scores.append(score_b)
        slopes.append(slope_bt)
    place_p5 = place.reshape(share_p5.shape)
    score_p5 = np.concatenate(scores)[place_p5]
    slope_p5t = np.concatenate(slopes)[place_p5]
    added_pt = (end_p - begin_p)[:, None] * np.einsum("q,pqt->pt", _WEIGHTS, slope_p5t)
    return [
        _Piece(begin, end, score_5[0], score_5[-1], added_t)
        for (begin, end), score_5, added_t in zip(ends, score_p5.tolist(), added_pt, strict=True)
    ]


def _along(score: Score, x_td: Tensor, share_b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """At such shares of the way the scores [B], and how fast each token changes them [B, T]."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        whole_td = x_td.clone()
        share = torch.from_numpy(share_b).to(whole_td)
        x_btd = (share[:, None, None] * whole_td).requires_grad_()
        score_b = score(x_btd)
        (gradient_btd,) = torch.autograd.grad(score_b.sum(), x_btd)
        slope_bt = (gradient_btd.double() * whole_td).sum(dim=2)
        return score_b.detach().double().cpu().numpy(), slope_bt.cpu().numpy()
