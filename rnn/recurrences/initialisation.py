"""Recurrent weights and gate biases that a training starts from."""

import torch
from torch import Tensor, nn

from rnn.config.architecture import ArchitectureConfig, RecurrentInitName


@torch.no_grad()
def init_gates(
    input_weight_gd: Tensor,
    recurrent_weight_gh: Tensor | None,
    gates: int,
    config: ArchitectureConfig,
    generator: torch.Generator,
) -> None:
    """Gate by gate: Xavier for what reads the input, the configuration's choice for the rest."""
    size = len(input_weight_gd) // gates
    for gate in range(gates):
        rows = slice(gate * size, (gate + 1) * size)
        nn.init.xavier_uniform_(input_weight_gd[rows], generator=generator)
        if recurrent_weight_gh is not None:
            init_recurrent(recurrent_weight_gh[rows], config.recurrent_init, generator)


@torch.no_grad()
def init_recurrent(weight_hh: Tensor, how: RecurrentInitName, generator: torch.Generator) -> None:
    """One gate's recurrent matrix: orthogonal (Saxe et al. 2014), the identity (Le, Jaitly and
    Hinton 2015), or uniform within 1/sqrt(H)."""
    match how:
        case "orthogonal":
            nn.init.orthogonal_(weight_hh, generator=generator)
        case "identity":
            nn.init.eye_(weight_hh)
        case "uniform":
            bound = weight_hh.shape[1] ** -0.5
            nn.init.uniform_(weight_hh, -bound, bound, generator=generator)


@torch.no_grad()
def init_lstm_bias(bias_g: Tensor, config: ArchitectureConfig, generator: torch.Generator) -> None:
    """Of an LSTM's gates, in, forget, cell, out: zeros but the forget gate's, or chrono."""
    nn.init.zeros_(bias_g)
    in_bias_h, forget_bias_h, _, _ = bias_g.chunk(4)
    forget_bias_h.fill_(config.forget_bias)
    if config.chrono_length is not None:
        forget_bias_h.copy_(chrono_logits(len(forget_bias_h), config.chrono_length, generator))
        in_bias_h.copy_(-forget_bias_h)


def chrono_logits(size: int, length: int, generator: torch.Generator) -> Tensor:
    """Biases [size] of gates that keep a memory, so that it lasts for 2 to `length` timesteps, each
    time as likely as any other (Tallec and Ollivier 2018)."""
    return torch.empty(size).uniform_(1, length - 1, generator=generator).log()
