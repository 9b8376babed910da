"""Sources with the whole C interface and nothing behind it, and compilers that compile nothing."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rnn.kernels import library
from rnn.kernels.build import NATIVE, compile_level, library_file

HEADER = NATIVE / "kernels.h"


class Declaration(NamedTuple):
    result: str
    name: str
    arguments: list[str]


def declarations() -> list[Declaration]:
    """Every function of native/kernels.h, its types without names and spaces to tell them apart."""
    text = re.sub(r"//.*", "", HEADER.read_text(encoding="utf-8"))
    found = re.findall(r"^RK_EXPORT\s+([^;(]*?)(rk_\w+)\(([^;]*)\);", text, re.M)
    assert len(found) == text.count("RK_EXPORT ") - 1  # but for its own definition
    return [
        Declaration(result.strip(), name, [] if given == "void" else given.split(","))
        for result, name, given in found
    ]


def write_stubs(folder: Path) -> Path:
    """Sources of a library: the macros CPU and VERSION are what it says of both; pools are counted,
    a network of no layers has no memory, and setting so many outputs is that error."""
    bodies = {
        "rk_interface_version": "return VERSION;",
        "rk_cpu_level": "return CPU;",
        "rk_pool_new": "++pools; return a0 ? (rk_pool*)new int : nullptr;",
        "rk_pool_free": "--pools; delete (int*)a0;",
        "rk_network_new": "return a2 ? (rk_network*)1 : nullptr;",
        "rk_network_set_output": "return a1;",
    }
    lines = [
        '#include "kernels.h"',
        "static int pools;",
        "RK_EXPORT int stub_pools(void) { return pools; }",
    ]
    for result, name, arguments in declarations():
        taken = [re.sub(r"(?<=[\w*])\s*\b\w+\s*$", "", given.strip()) for given in arguments]
        listed = ", ".join(f"{kind} a{index}" for index, kind in enumerate(taken))
        body = bodies.get(name, "" if result == "void" else "return {};")
        lines.append(f"RK_EXPORT {result} {name}({listed}) {{ {body} }}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernels.h").write_text(HEADER.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "stubs.cpp").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def build_stub(
    level: str,
    folder: Path,
    native: Path,
    *,
    cpu: int = 2,
    version: int = library.INTERFACE_VERSION,
) -> None:
    flags = [f"-DCPU={cpu}", f"-DVERSION={version}"]
    compile_level(level, folder / library_file(level), extra_flags=flags, native=native)


def write_compiler(path: Path, lines: Sequence[str]) -> str:
    """A program that stands for a compiler: `lines` run with its arguments in `given`."""
    path.write_text(
        "\n".join([f"#!{sys.executable}", "import sys", "given = sys.argv[1:]", *lines])
    )
    path.chmod(0o755)
    return str(path)


# Writes what a real one would of the build id.
COMPILES = (
    "digest = next(x for x in given if 'build-id' in x).partition('=0x')[2]",
    "open(given[given.index('-o') + 1], 'wb').write(bytes.fromhex(digest))",
)
