"""Every random number of a training comes from here, and can be saved and restored."""

import numpy as np
import torch
from torch import Tensor

from rnn.config import PrecisionName
from rnn.kernels import library


class Randomness:
    """Generators for weights (on the CPU, so that a seed means the same weights on any device) and
    for dropout (on the training device).

    Global generators are left alone: two trainings in one process do not disturb each other.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        weights_seed, dropout_seed = np.random.SeedSequence(seed).generate_state(2, np.uint64)
        self.weights = torch.Generator().manual_seed(int(weights_seed >> 1))
        self.dropout = torch.Generator(device).manual_seed(int(dropout_seed >> 1))

    def state_tensors(self) -> dict[str, Tensor]:
        """What must be saved so that a resumed training draws the same numbers."""
        return {"weights": self.weights.get_state(), "dropout": self.dropout.get_state()}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Gives back what `state_tensors` took.

        Each kind of device has its own dropout generator, whose state fits no other kind. After a
        move dropout starts again from the seed: only on one kind of device does a resumed training
        draw the numbers that it would have drawn uninterrupted.
        """
        self.weights.set_state(tensors["weights"].cpu())
        dropout = tensors["dropout"].cpu()
        if dropout.numel() == self.dropout.get_state().numel():
            self.dropout.set_state(dropout)


def use_reproducible_kernels(device: torch.device) -> None:
    """Chooses the kernels that give the same result each time where a device offers faster ones
    that do not; warns where an operation has no such kernel.

    cuBLAS is the same each time only where the process was started with CUBLAS_WORKSPACE_CONFIG,
    and otherwise warned about.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It costs time, and nobody reads what it fills.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def uses_bfloat16(precision: PrecisionName, device_type: str) -> bool:
    """Whether the matrix products of a training are in bfloat16. A choice of the machine alone: the
    same job on the same kind of machine is always computed alike."""
    if precision != "auto":
        return precision == "bfloat16"
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    kernels = library.load()
    return kernels is not None and kernels.level == "avx512"
