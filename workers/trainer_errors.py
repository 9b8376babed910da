"""What an exception inside a training means for its job."""

import errno

from rnn.errors import (
    CheckpointError,
    ConfigError,
    DataTooSmallError,
    DivergedError,
    InputMismatchError,
    MemoryShortError,
)
from rnn.memory import is_out_of_memory
from service.errors import ServiceError

FULL = (errno.ENOSPC, errno.EDQUOT)
MAX_DETAIL = 500

TYPES: dict[type[Exception], str] = {
    DivergedError: "diverged",
    DataTooSmallError: "dataset-too-small",
    InputMismatchError: "model-input-mismatch",
    ConfigError: "validation-error",
    MemoryShortError: "out-of-memory",
    CheckpointError: "checkpoint-invalid",
}


def explain(error: BaseException) -> tuple[str, str]:
    """The error's type and detail for the job's row; the whole trace is in the attempt's log."""
    for kind, name in TYPES.items():
        if isinstance(error, kind):
            return name, shortened(str(error))
    if isinstance(error, ServiceError):
        return error.problem, shortened(error.detail)
    if isinstance(error, OSError) and error.errno in FULL:
        return "insufficient-storage", "the artifact folder has no space left"
    if is_out_of_memory(error):
        return "out-of-memory", shortened(f"it needs more memory than there is: {error}")
    return "trainer-error", shortened(f"{type(error).__name__}: {error}")


def shortened(text: str) -> str:
    """One line that JSON and PostgreSQL can hold, whatever data it quotes."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    first = text.strip().splitlines()[0] if text.strip() else "no detail"
    return first if len(first) <= MAX_DETAIL else first[: MAX_DETAIL - 1] + "…"
