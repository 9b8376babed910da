"""Compiles the kernels: the same sources once for each level of instructions, into a library each.

    python -m rnn.kernels.build

does it in place. `setup.py` imports this where nothing is installed but setuptools, so it needs
the standard library alone. What is loaded on which processor, `rnn.kernels.library` decides.
"""

import argparse
import hashlib
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
NATIVE = FOLDER / "native"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    *("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-pthread"),
    *("-shared", "-fvisibility=hidden"),
)
# The C++ runtime goes into the library and is not seen from outside: the machine that runs it
# needs none, and torch's own is never mixed with it.
RUNTIME = ("-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL")
# What x86-64 has more than one level of, the best one first; any other machine is `plain`.
LEVELS: dict[str, tuple[str, ...]] = {
    "avx512": ("-march=x86-64-v4", "-mavx512bf16", "-mavx512vnni"),
    "avx2": ("-march=x86-64-v3",),
    "plain": (),
}
ERROR_LINES = 20  # of a compiler's last words


class BuildError(Exception):
    """A library could not be compiled; the message names the level and what the compiler said."""


class Built(NamedTuple):
    """What became of one level; `problem`: why there is no library of it."""

    level: str
    compiled: bool
    problem: str | None

    def __str__(self) -> str:
        if self.problem is not None:
            return f"{self.level}: not built: {self.problem}"
        return f"{self.level}: {'compiled' if self.compiled else 'up to date'}"


def library_file(level: str) -> str:
    return f"libreprise_{level}.so"


def levels() -> tuple[str, ...]:
    """Those that compilers for this machine can make, whatever its processor can run."""
    return tuple(LEVELS) if platform.machine() in ("x86_64", "AMD64") else ("plain",)


def find_compiler() -> str | None:
    return next((name for name in COMPILERS if shutil.which(name)), None)


def compile_level(
    level: str,
    output: Path,
    *,
    compiler: str | None = None,
    extra_flags: Sequence[str] = (),
    native: Path = NATIVE,
) -> bool:
    """Makes `output` the library of `native`'s sources; False where it was that already.

    `compiler` may have arguments ("ccache g++"); None: the first one found. Raises BuildError, and
    then there is no `output`, so that an old one is not taken for it.
    """
    flags = [*FLAGS, *LEVELS[level], *extra_flags]
    digest = _digest(flags, native)
    if output.exists() and bytes.fromhex(digest) in output.read_bytes():
        return False
    try:
        _compile(
            compiler or find_compiler(), [*flags, f"-Wl,--build-id=0x{digest}"], native, output
        )
    except BuildError:
        output.unlink(missing_ok=True)
        raise
    return True


def build_all(
    folder: Path = FOLDER, *, compiler: str | None = None, native: Path = NATIVE
) -> list[Built]:
    """Makes the library of every level in `folder`, all at the same time. Never raises."""

    def build(level: str) -> Built:
        try:
            output = folder / library_file(level)
            return Built(
                level, compile_level(level, output, compiler=compiler, native=native), None
            )
        except (BuildError, OSError) as error:
            return Built(level, False, str(error))

    with ThreadPoolExecutor(len(LEVELS)) as threads:
        return list(threads.map(build, levels()))


def _digest(flags: Sequence[str], native: Path) -> str:
    """Of all that decides what the library does; it is the library's build id."""
    digest = hashlib.sha1("\0".join((*flags, *RUNTIME)).encode(), usedforsecurity=False)
    for source in sorted([*native.glob("*.h"), *native.glob("*.cpp")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def _compile(compiler: str | None, flags: Sequence[str], native: Path, output: Path) -> None:
    """Puts a whole library in the place of `output`: a process that has it open keeps the old."""
    if compiler is None:
        raise BuildError(f"no C++ compiler: none of {', '.join(COMPILERS)} is on the PATH")
    sources = [str(source) for source in sorted(native.glob("*.cpp"))]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=output.parent) as scratch:
        made = Path(scratch) / output.name
        command = [*shlex.split(compiler), *flags, *sources, "-o", str(made)]
        error = _run([*command, *RUNTIME])
        if error is not None and "stdc++" in error:  # some systems have no static C++ runtime
            error = _run(command)
        if error is not None:
            raise BuildError(error)
        made.replace(output)


def _run(command: Sequence[str]) -> str | None:
    """What went wrong, if anything did."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    if done.returncode == 0:
        return None
    last = "\n".join(done.stderr.strip().splitlines()[-ERROR_LINES:])
    return f"{command[0]} ended with {done.returncode}: {last or 'it said nothing'}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rnn.kernels.build", description=__doc__)
    parser.add_argument("--compiler", help="the C++ compiler, with arguments if need be")
    results = build_all(compiler=parser.parse_args().compiler)
    sys.stdout.writelines(f"{built}\n" for built in results)
    sys.exit(any(built.problem for built in results))


if __name__ == "__main__":
    main()
