"""Finds a compiled library that this processor can run, and declares its C interface.

Nothing is loaded at import: the first `load` or `status` takes the best level, unless `select` has
chosen another one for the process. Python's lock is free during every call into a library.
"""

import ctypes
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_float, c_int, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, overload

from rnn.config import CellName
from rnn.errors import KernelsError
from rnn.kernels.build import FOLDER, library_file

Level = Literal["avx512", "avx2", "plain"]
Precision = Literal["float32", "bfloat16", "int8"]
Choice = Literal["auto", "avx512", "avx2", "plain", "off"]

LEVELS: tuple[Level, ...] = get_args(Level)  # the best one first
RANKS = {"avx512": 2, "avx2": 1, "plain": 0}  # of rk_cpu_level
NEEDS = {"avx512": "AVX-512 with bf16 and VNNI", "avx2": "AVX2 with FMA"}
INTERFACE_VERSION = 2  # RK_INTERFACE_VERSION of native/kernels.h
MEMORY_ERROR = 1  # RK_MEMORY_ERROR
CELL_NUMBERS: dict[CellName, int] = {
    "rnn_tanh": 0,
    "rnn_relu": 1,
    "lstm": 2,
    "gru": 3,
    "mingru": 4,
    "minlstm": 5,
}
PRECISION_NUMBERS: dict[Precision, int] = {"float32": 0, "bfloat16": 1, "int8": 2}

# Pointers are addresses as integers, or None for NULL.
_P = c_void_p
# Functions that return nothing or a number, then those that return RK_OK or an error, then those
# that return NULL where there is no memory: (arguments), in the order of native/kernels.h.
_PLAIN: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rk_interface_version": (c_int, ()),
    "rk_cpu_level": (c_int, ()),
    "rk_pool_free": (None, (_P,)),
    "rk_network_free": (None, (_P,)),
    "rk_network_step_bytes": (c_int64, (_P,)),
}
_FALLIBLE: dict[str, tuple[Any, ...]] = {
    "rk_network_set_layer": (_P, c_int, c_int, _P, _P, _P, _P),
    "rk_network_set_norm": (_P, c_int, _P, _P, c_float),
    "rk_network_set_tokens": (_P, c_int, c_int, _P),
    "rk_network_set_output": (_P, c_int, _P, _P),
    "rk_step": (_P, _P, c_int, c_int, _P, _P, c_int, _P, _P, _P, _P, _P, _P, _P),
    "rk_sequences": (_P, _P, c_int, *(_P,) * 10),
    "rk_train_forward": (_P, c_int, c_int, c_int, _P, c_int, c_int, *(_P,) * 11),
    "rk_train_backward": (_P, c_int, c_int, c_int, _P, c_int, c_int, *(_P,) * 14),
}
_MAKERS: dict[str, tuple[Any, ...]] = {
    "rk_pool_new": (c_int,),
    "rk_network_new": (c_int,) * 7,
}


@dataclass(frozen=True)
class Status:
    """Which kernels answer in this process, and why, in plain words."""

    level: Literal["avx512", "avx2", "plain", "torch"]
    reason: str


class Library:
    """One level's library. `functions.rk_...` are those of native/kernels.h; where one of them
    fails it raises MemoryError, or ValueError for arguments that it does not take."""

    def __init__(self, level: Level, functions: ctypes.CDLL) -> None:
        self.level = level
        self.functions = functions
        self._pools = _Pools()

    def pool(self, threads: int) -> int:
        """The calling thread's own pool of that many threads, itself among them.

        It is made at the first call, serves this thread alone, and is freed when the thread ends.
        Raises MemoryError where the threads cannot be started.
        """
        pools = self._pools.by_size
        if threads not in pools:
            pools[threads] = _Pool(self.functions, threads)
        return pools[threads].address


class _Pool:
    def __init__(self, functions: ctypes.CDLL, threads: int) -> None:
        self.address: int = functions.rk_pool_new(threads)
        # Not at the process's end: a thread that is still computing then may be using it.
        weakref.finalize(self, functions.rk_pool_free, self.address).atexit = False


class _Pools(threading.local):
    """Pools of one thread by their size."""

    def __init__(self) -> None:
        self.by_size: dict[int, _Pool] = {}


class _Here(threading.local):
    """What one thread has chosen for its own calls."""

    threads: int | None = None


_here = _Here()
_lock = threading.Lock()
_selected: tuple[Library | None, Status] | None = None


def select(choice: Choice) -> Status:
    """Chooses the kernels of this process, for networks that are made from now on.

    "auto" takes the best level that can run here, "off" none: torch answers. Raises KernelsError
    for a level that cannot run here; the choice is then as it was.
    """
    global _selected
    with _lock:
        _selected = _find(choice)
        return _selected[1]


def use_threads(count: int | None) -> None:
    """What the calling thread asks of the kernels is computed on so many threads from now on, with
    itself; None, as before the first call: on as many as torch uses in it."""
    _here.threads = count


def threads_here() -> int | None:
    """What `use_threads` was told in this thread."""
    return _here.threads


@contextmanager
def kernel_threads(count: int) -> Iterator[None]:
    """What the calling thread asks of the kernels meanwhile is computed on so many threads."""
    before = threads_here()
    use_threads(count)
    try:
        yield
    finally:
        use_threads(before)


def status() -> Status:
    return _current()[1]


def precision_here(wanted: Precision) -> Precision:
    """What this process's kernels compute a network in that is to be served in `wanted`: float32
    where there is nothing that computes with fewer bits, or no instructions that make it faster."""
    return wanted if status().level in ("avx512", "avx2") else "float32"


def precision_on_gpu(wanted: Precision) -> Precision:
    """Likewise, of a GPU, where int8 is computed as bfloat16."""
    return "float32" if wanted == "float32" else "bfloat16"


@overload
def load(level: Level) -> Library: ...
@overload
def load(level: None = None) -> Library | None: ...
def load(level: Level | None = None) -> Library | None:
    """The selected library; None where torch has to answer. Or else the library of a level, which
    raises KernelsError where it cannot run here."""
    return _current()[0] if level is None else _find(level)[0]


def _current() -> tuple[Library | None, Status]:
    global _selected
    with _lock:
        if _selected is None:
            _selected = _find("auto")
        return _selected


def _find(choice: Choice) -> tuple[Library | None, Status]:
    if choice == "off":
        return None, Status("torch", "the kernels are switched off")
    try:
        plain = _open("plain", FOLDER / library_file("plain"))
    except KernelsError as error:
        if choice == "auto":
            return None, Status("torch", str(error))
        raise _refusal(f"{choice}: {error}") from error
    rank = plain.functions.rk_cpu_level()  # every processor can run the plain one, to be asked
    passed_over = []
    for level in LEVELS if choice == "auto" else (choice,):
        try:
            if rank < RANKS[level]:
                raise KernelsError(f"the processor has no {NEEDS[level]}")
            library = _open(level, FOLDER / library_file(level))
        except KernelsError as error:
            passed_over.append(f"{level}: {error}")
        else:
            good = "the best level there is" if choice == "auto" else "it was chosen"
            return library, Status(level, "; ".join(passed_over) or good)
    raise _refusal(passed_over[0])


def _refusal(reason: str) -> KernelsError:
    return KernelsError(f"The kernels cannot run here at the level {reason}.")


@cache
def _open(level: Level, path: Path) -> Library:
    if not path.exists():
        raise KernelsError(f"{path.name} was not built")
    try:
        functions = ctypes.CDLL(str(path))
        _declare(functions)
    except (OSError, AttributeError) as error:
        said = str(error).replace(f"{path.parent}/", "")  # read by whoever asks for the health
        raise KernelsError(f"cannot load {said}") from error
    version = functions.rk_interface_version()
    if version != INTERFACE_VERSION:
        raise KernelsError(
            f"{path.name} is of other sources: its interface is version {version},"
            f" {INTERFACE_VERSION} is needed"
        )
    return Library(level, functions)


def _declare(functions: ctypes.CDLL) -> None:
    """Raises AttributeError for a function that is not there."""
    for name, (result, arguments) in _PLAIN.items():
        function = getattr(functions, name)
        function.restype, function.argtypes = result, arguments
    for name, arguments in _FALLIBLE.items():
        function = getattr(functions, name)
        function.restype, function.argtypes, function.errcheck = c_int, arguments, _succeeded
    for name, arguments in _MAKERS.items():
        function = getattr(functions, name)
        function.restype, function.argtypes, function.errcheck = c_void_p, arguments, _made


def _succeeded(result: int, function: Any, _arguments: object) -> int:
    if result == MEMORY_ERROR:
        raise MemoryError(f"{function.__name__}: no memory")
    if result:
        raise ValueError(f"{function.__name__} does not take these arguments")
    return result


def _made(result: int | None, function: Any, _arguments: object) -> int:
    if result is None:
        raise MemoryError(f"{function.__name__}: no memory, or no thread")
    return result
