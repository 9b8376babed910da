"""Where the engine's networks are computed. Imports torch: only the engine does."""

import gc
import logging

import torch

from service.errors import UnavailableError
from service.inference.requests import Device, DeviceChoice

log = logging.getLogger(__name__)


def choose(wanted: DeviceChoice) -> Device:
    """`auto` takes a GPU where torch finds one.

    Raises:
        UnavailableError: `cuda` is wanted and cannot be had; it says why.
    """
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        log.info("networks are computed on %s", torch.cuda.get_device_name())
        return "cuda"
    if wanted == "cuda":
        raise UnavailableError(f"REPRISE_INFERENCE_DEVICE is cuda, but {_missing()}.")
    log.info("networks are computed on the CPU: %s", _missing())
    return "cpu"


def is_lost() -> bool:
    """Whether the GPU refuses this process from now on, as after an illegal access to its memory:
    its context is broken then, and no call succeeds any more."""
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def give_back() -> None:
    """Returns what unloaded networks took of the GPU, which torch keeps for itself otherwise:
    trainers may compute there, too."""
    gc.collect()
    torch.cuda.empty_cache()


def _missing() -> str:
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return f"torch {torch.__version__} is built without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return f"torch finds no GPU: {str(error).splitlines()[0].rstrip('.')}"
    return "torch finds no GPU"
