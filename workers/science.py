"""What a trainer takes from the networks. Importing this imports torch: only a trainer does."""

import torch
from torch import nn

from rnn.checkpoint import manifest_sha256, verify
from rnn.train import train
from workers.networks import load_predictor
from workers.training import Science


def prepare() -> Science:
    """Everything slow, done before a job comes."""
    warm_up("cuda" if torch.cuda.is_available() else "cpu")
    return Science(train, verify, manifest_sha256, load_predictor)


def warm_up(device: str) -> None:
    """One tiny training step: torch loads its optimizers, kernels and CUDA context on first use.

    That took over a second of a job's first step.
    """
    network = nn.LSTM(4, 4, batch_first=True).to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    output_bth, _ = network(torch.zeros(2, 3, 4, device=device))
    output_bth.sum().backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
