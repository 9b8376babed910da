"""The machine and the software that the figures were taken with."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.kernels.measure import say

SOURCE = Path(__file__).with_name("machine.cpp")
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Machine:
    """What was found out before anything else is measured.

    Attributes:
        peaks: by threads, then by precision: 10^9 operations a second; 0: no such instruction.
        reads: one for each working set: its "kib", and GB/s by threads. Both are empty where there
            is no compiler.
    """

    processor: str
    flags: list[str]
    cores: int
    peaks: dict[str, dict[str, float]]
    reads: list[dict[str, float]]
    compiler: str
    software: str


def look(*, quick: bool) -> Machine:
    say("machine: peaks and bandwidth")
    compilers = (shutil.which(name) for name in ("c++", "g++", "clang++"))
    compiler = next((found for found in compilers if found), "")
    measured: dict[str, Any] = {"peak": {}, "read": []}
    if compiler:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "machine"
            options = ["-O3", "-march=native", "-std=c++17", "-pthread"]
            subprocess.run([compiler, *options, SOURCE, "-o", program], check=True)
            said = subprocess.run(
                [program, *(["quick"] if quick else [])], check=True, capture_output=True
            )
        measured = json.loads(said.stdout)
    return Machine(
        processor=processor(),
        flags=[flag for flag in FLAGS if flag in processor("flags").split()],
        cores=len(os.sched_getaffinity(0)),
        peaks=measured["peak"],
        reads=measured["read"],
        compiler=_compiler_version(compiler),
        software=", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "numpy")),
    )


def processor(key: str = "model name") -> str:
    """What the system says of it; by default its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    values = [line.split(":", 1)[1].strip() for line in lines if line.startswith(key)]
    return values[0] if values else platform.processor()


def _compiler_version(compiler: str) -> str:
    if not compiler:
        return "no compiler"
    said = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True)
    return said.stdout.splitlines()[0]
