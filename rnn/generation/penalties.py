"""What makes the tokens of a text less probable the next time, kept up as they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Penalties:
    """Of P rows: a token drawn changes one place in a row's tables, however long the text is.

    Attributes:
        amounts_p3: repetition, presence and frequency penalty.
        factor_pv: what log-probabilities are multiplied with: the repetition penalty for tokens of
            prompt and text, 1 for the others.
        offset_pv: what is then taken from them.
        count_pv: how often each token is in the text.
    """

    amounts_p3: NDArray[np.float32]
    factor_pv: NDArray[np.float32]
    offset_pv: NDArray[np.float32]
    count_pv: NDArray[np.int32]

    @staticmethod
    def start(
        amounts: Sequence[tuple[float, float, float]],
        prompts: Sequence[Sequence[int]],
        drawn: Sequence[Sequence[int]],
        vocabulary_size: int,
    ) -> "Penalties":
        """Of rows that have drawn so many tokens after their prompts."""
        amounts_p3 = np.array(amounts, dtype=np.float32).reshape(-1, 3)
        shape = (len(amounts), vocabulary_size)
        penalties = Penalties(
            amounts_p3,
            np.ones(shape, np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.int32),
        )
        for row, (prompt, text) in enumerate(zip(prompts, drawn, strict=True)):
            penalties.factor_pv[row, list(prompt)] = amounts_p3[row, 0]
            for token in text:
                penalties._count(np.array([row]), np.array([token]))
        return penalties

    @staticmethod
    def cat(parts: Sequence["Penalties"]) -> "Penalties":
        """The rows of all, in order."""
        return Penalties(
            np.concatenate([part.amounts_p3 for part in parts]),
            np.concatenate([part.factor_pv for part in parts]),
            np.concatenate([part.offset_pv for part in parts]),
            np.concatenate([part.count_pv for part in parts]),
        )

    def select(self, rows: NDArray[np.intp] | slice) -> "Penalties":
        """The given rows: of a slice a view, in which what is drawn is counted too."""
        return Penalties(
            self.amounts_p3[rows], self.factor_pv[rows], self.offset_pv[rows], self.count_pv[rows]
        )

    @property
    def vocabulary_size(self) -> int:
        return int(self.factor_pv.shape[1])

    def apply(self, logprobs_pv: NDArray[np.float32]) -> None:
        """In place. A log-probability is never positive: a factor above 1 makes it less."""
        logprobs_pv *= self.factor_pv
        logprobs_pv -= self.offset_pv

    def take(self, tokens_p: Tokens) -> None:
        """Each row has drawn one more token."""
        self._count(np.arange(len(tokens_p)), tokens_p)

    def _count(self, rows: NDArray[np.intp], tokens: Tokens) -> None:
        repetition, presence, frequency = self.amounts_p3[rows].T
        count = self.count_pv[rows, tokens] + 1
        self.count_pv[rows, tokens] = count
        self.factor_pv[rows, tokens] = repetition
        self.offset_pv[rows, tokens] = presence + frequency * count
