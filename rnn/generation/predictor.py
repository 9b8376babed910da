"""A trained language model as a function of tokens and a hidden state.

It runs without gradients and keeps no state of its own, so one thread may call it for many callers.
Inputs are checked here; the network itself trusts them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rnn.config import GenerationConfig
from rnn.errors import InputMismatchError
from rnn.generation.network import GenerationNetwork
from rnn.kernels.library import Precision
from rnn.rows import row_by_row
from rnn.runner import joined, make_runner
from rnn.state import HiddenState
from rnn.tokenizers import ByteTokenizer, TextDecoder, TextTokenizer

_LINE_BREAK = "\n"


class Generator:
    """Scores of the next token; the caller holds the hidden state and samples.

    Args:
        tokenizer: None: the tokens are bytes.
        precision: what its stack is computed in, where there are kernels for it.
    """

    def __init__(
        self,
        config: GenerationConfig,
        network: GenerationNetwork,
        tokenizer: TextTokenizer | None = None,
        precision: Precision = "float32",
    ) -> None:
        self.config = config
        network.eval()
        self._stack = network.stack
        self._head = network.head
        self._output = network.head.linear()
        self._runner = make_runner(
            network.stack,
            embedding_vd=network.embedding.weight,
            output=self._output,
            precision=precision,
        )
        self._tokenizer = tokenizer or ByteTokenizer()
        weights = (*network.stack.parameters(), *network.head.parameters())
        self.multiplications = sum(weight.numel() for weight in weights)
        """About so many for each token."""

    @property
    def precision(self) -> Precision:
        """What its stack is computed in."""
        return self._runner.precision

    @property
    def exact_in_pieces(self) -> bool:
        """Whether a text has the same digits however it is cut into calls of `prefill`."""
        return self._runner.exact_in_pieces

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.vocabulary_size

    @property
    def tokenizer(self) -> TextTokenizer:
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """Tokens of a prompt, at least one: without any it is a line break, for a network must read
        something first."""
        return self._tokenizer.encode(text) or self._tokenizer.encode(_LINE_BREAK)

    def decoder(self, prompt: str = "") -> TextDecoder:
        """A new decoder for one stream of tokens that follow a prompt."""
        return self._tokenizer.decoder(prompt)

    @torch.inference_mode()
    def initial_state(self, batch_size: int) -> HiddenState:
        """The state before anything was read."""
        return self._stack.initial_state(batch_size)

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], state: HiddenState) -> tuple[Tensor, HiddenState]:
        """Scores [V] after the last of the tokens and the state with all of them read.

        Args:
            tokens: at least one.
            state: of one row.
        """
        scores_bv, state = self.prefill_rows([tokens], state)
        return scores_bv[0], state

    @torch.inference_mode()
    def prefill_rows(
        self, rows: Sequence[Sequence[int]], state: HiddenState
    ) -> tuple[Tensor, HiddenState]:
        """Scores [B, V] after the last of each row's tokens, and the states with all of them read:
        for each row what `prefill` says, to the last bit.

        Args:
            rows: of at least one token each.
            state: as many rows.
        """
        for tokens in rows:
            if not tokens:
                raise InputMismatchError("a prompt needs at least one token")
            for token in tokens:
                if not 0 <= token < self.vocabulary_size:
                    raise InputMismatchError(
                        f"token {token} is not between 0 and {self.vocabulary_size - 1}"
                    )
        prompts = [torch.tensor(tokens) for tokens in rows]
        if self._output is not None:
            return self._runner.prefill(prompts, state)
        return joined([self._read(tokens, state.row(row)) for row, tokens in enumerate(prompts)])

    def _read(self, tokens_t: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        if len(tokens_t) > 1:
            _, state = self._runner.sequences(tokens_t[None, :-1], state=state)
        return self.step(tokens_t[-1:], state)

    @torch.inference_mode()
    def step(self, tokens_b: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """Scores [B, V] after one more token in each row, and the new state."""
        y, end = self._runner.step(tokens_b, state)
        return (y if self._output is not None else row_by_row(self._head.scores, y)), end
