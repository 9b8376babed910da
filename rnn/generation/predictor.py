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
from rnn.runner import make_runner
from rnn.state import HiddenState
from rnn.tokenizers import ByteTokenizer, Utf8Decoder


class Generator:
    """Scores of the next token; the caller holds the hidden state and samples."""

    def __init__(self, config: GenerationConfig, network: GenerationNetwork) -> None:
        self.config = config
        network.eval()
        self._runner = make_runner(
            network.stack, embedding_vd=network.embedding.weight, output=network.head
        )
        self._tokenizer = ByteTokenizer()
        parameter = next(network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.vocabulary_size

    def encode(self, text: str) -> list[int]:
        """Tokens of a prompt, at least one."""
        return self._tokenizer.encode(text)

    def decoder(self) -> Utf8Decoder:
        """A new decoder for one stream of tokens."""
        return self._tokenizer.decoder()

    @torch.inference_mode()
    def initial_state(self, batch_size: int) -> HiddenState:
        """The state before anything was read."""
        architecture = self.config.architecture
        return HiddenState.zeros(
            architecture.cell,
            architecture.num_layers,
            batch_size,
            architecture.hidden_size,
            device=self._device,
            dtype=self._dtype,
        )

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], state: HiddenState) -> tuple[Tensor, HiddenState]:
        """Scores [V] after the last of the tokens and the state with all of them read.

        Args:
            tokens: at least one.
            state: of one row.
        """
        if not tokens:
            raise InputMismatchError("a prompt needs at least one token")
        for token in tokens:
            if not 0 <= token < self.vocabulary_size:
                raise InputMismatchError(
                    f"token {token} is not between 0 and {self.vocabulary_size - 1}"
                )
        return self._runner.prefill(torch.tensor(tokens), state)

    @torch.inference_mode()
    def step(self, tokens_b: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """Scores [B, V] after one more token in each row, and the new state."""
        return self._runner.step(tokens_b, state)
