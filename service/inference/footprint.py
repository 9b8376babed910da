"""How much memory a loaded network takes."""

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor

from rnn.checkpoint import Predictor
from rnn.kernels.cuda_steps import Steps
from rnn.kernels.inference import NativeNetwork

_SHARED = (type, ModuleType, BuiltinFunctionType)  # with the rest of the program


def memory_bytes(model: Predictor) -> int:
    """Bytes of all that a network alone keeps in memory, be it the GPU's: its weights, as they were
    trained and as they are packed, the tables made of them, what its CUDA graphs compute in, its
    tokens, and the Python objects around them.

    A tokenizer that is not Python's is taken for as long as what it is saved as.
    """
    total, seen, found = 0, set[int](), list[object]([model])
    while found:
        thing = found.pop()
        if isinstance(thing, Tensor):
            thing = thing.untyped_storage()
            key, size = thing.data_ptr(), thing.nbytes()
        elif isinstance(thing, NativeNetwork):
            key, size = id(thing), thing.memory_bytes
        elif isinstance(thing, Tokenizer):
            key, size = id(thing), len(thing.to_str())
        elif isinstance(thing, _SHARED):
            continue
        elif isinstance(thing, FunctionType):  # shared, but for the values that it was made with
            found += thing.__closure__ or ()
            continue
        else:
            key, size = id(thing), sys.getsizeof(thing)
            if isinstance(thing, np.ndarray) and thing.base is not None:
                found.append(thing.base)
            elif isinstance(thing, Steps):
                size += thing.scratch_bytes
            if key not in seen:
                found += gc.get_referents(thing)
        if key not in seen:
            seen.add(key)
            total += size
    return total
