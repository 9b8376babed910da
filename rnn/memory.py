"""Running out of memory: told from other errors, and survived. Needs no torch to tell."""

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import TypeVar

# What allocators say that raise a plain RuntimeError: torch's on a CPU, the standard library's of
# C++, oneDNN (which does not say why), CUDA and its libraries.
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "could not create a primitive",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 2**20

_reserve: list[mmap] = []

Result = TypeVar("Result")


@dataclass(frozen=True)
class Shortage:
    """There was not enough memory; `reason` is what the allocator said."""

    reason: str


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on whatever device."""
    if isinstance(error, MemoryError) or _is_device_s(error):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def within_memory(action: Callable[[], Result]) -> Result | Shortage:
    """What an action gives, or why it did not; what it held is free again then."""
    try:
        return action()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason, on_device = str(error) or type(error).__name__, _is_device_s(error)
    # Only here, with the error and the frames that it kept gone.
    gc.collect()
    if not on_device:
        _give_back()
    return Shortage(reason)


def tried_twice(action: Callable[[], Result]) -> Result:
    """What an action gives that may be repeated, if need be after everything that was freed before
    has been given back."""
    result = within_memory(action)
    return action() if isinstance(result, Shortage) else result


def keep_reserve(size_bytes: int) -> None:
    """Takes memory that is not used, and given back when memory runs out for the first time.

    For processes under a limit. The C library may hold all that the limit allows, free or not, and
    shares with nobody; but a part of a new size needs new code of oneDNN's, which asks the system.
    """
    _reserve.append(mmap(-1, size_bytes, flags=MAP_PRIVATE | MAP_ANONYMOUS))


def _is_device_s(error: BaseException) -> bool:
    """Whether torch says so of a GPU."""
    return type(error).__name__ == "OutOfMemoryError"


def _give_back() -> None:
    """Hands freed memory of the CPU to the system, and has large pieces go there at once from now
    on, which takes time in every step. Before, the C library keeps them for the next step."""
    while _reserve:
        _reserve.pop().close()
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
        library.malloc_trim(0)
