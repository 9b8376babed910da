"""What is kept of a network between two steps of a session, as bytes and back.

The bytes are the SHA-256 of all that follows, then safetensors: arrays by name and, as the array
`header`, a JSON object with the format's version, the task, the network's digest and plain values.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rnn.config.base import TaskName
from rnn.errors import InputMismatchError, LiveStateError

FORMAT_VERSION = 1
MOST_PENDING = 4096
"""Characters of a word without its end that a text may end with between two steps."""

_HEADER = "header"
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Kept:
    """Plain values as JSON has them, and arrays."""

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def array(self, name: str, dtype: type, *shape: int | None) -> NDArray[Any]:
        """A copy of an array; raises LiveStateError for another type or shape. None: any length."""
        found = self.arrays.get(name)
        if found is None:
            raise LiveStateError(f"the state lacks {name!r}")
        fits = len(found.shape) == len(shape) and all(
            length in (None, have) for have, length in zip(found.shape, shape, strict=True)
        )
        if found.dtype != np.dtype(dtype) or not fits:
            raise LiveStateError(
                f"{name!r} of the state is {found.dtype} {[*found.shape]}, "
                f"the network's {np.dtype(dtype)} {[*shape]}"
            )
        return found.copy()

    def count(self, name: str, limit: int | None = None) -> int:
        """A whole number from 0 on, below the limit; raises LiveStateError for anything else."""
        return _counted(name, self.values.get(name), limit)

    def counts(self, name: str, limit: int) -> list[int]:
        """A list of such numbers."""
        found = self.values.get(name)
        if not isinstance(found, list):
            raise LiveStateError(f"{name!r} of the state is no list")
        return [_counted(name, each, limit) for each in found]

    def text(self, name: str) -> str:
        """Raises LiveStateError for what is no text."""
        found = self.values.get(name)
        if not isinstance(found, str):
            raise LiveStateError(f"{name!r} of the state is no text")
        return found


def pack(task: TaskName, network: str, kept: Kept) -> bytes:
    """The bytes of a state.

    Args:
        network: digest of the network that it is of.
    """
    header = {
        "format_version": FORMAT_VERSION,
        "task": task,
        "network": network,
        "values": dict(kept.values),
    }
    written = np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8)
    arrays = {name: np.ascontiguousarray(array) for name, array in kept.arrays.items()}
    body = save({_HEADER: written, **arrays})
    return hashlib.sha256(body).digest() + body


def unpack(state: bytes, task: TaskName, network: str) -> Kept:
    """What `pack` was given.

    Raises:
        LiveStateError: damaged bytes, or those of another format, task or network.
    """
    digest, body = state[:_DIGEST_BYTES], state[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise LiveStateError("the state is torn or was changed")
    try:
        arrays = load(body)
        header = json.loads(arrays.pop(_HEADER).tobytes())
        found = {name: header[name] for name in ("format_version", "task", "network", "values")}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise LiveStateError("the state is not in the format of one") from error
    expected = {"format_version": FORMAT_VERSION, "task": task, "network": network}
    for name, value in expected.items():
        if found[name] != value:
            raise LiveStateError(f"the state's {name} is {found[name]!r}, not {value!r}")
    return Kept(found["values"], arrays)


def bounded(pending: str) -> str:
    """The end of a text whose tokens may change with what follows.

    Raises:
        InputMismatchError: it is longer than MOST_PENDING.
    """
    if len(pending) > MOST_PENDING:
        raise InputMismatchError(
            f"the text ends within a word of more than {MOST_PENDING} characters: a step may end "
            "within a shorter one",
            ("text",),
        )
    return pending


def _counted(name: str, value: object, limit: int | None) -> int:
    if type(value) is not int or value < 0 or (limit is not None and value >= limit):
        raise LiveStateError(f"{name!r} of the state is {str(value)[:50]}")
    return value
