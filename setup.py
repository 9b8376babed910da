"""Compiles the kernels when the package is installed; everything else stands in pyproject.toml.

A level that cannot be compiled is left out with a warning, and the installation goes on: what is
missing then is speed. `CXX` names the compiler; `REPRISE_BUILD_KERNELS=0` leaves all of them out.
"""

import logging
import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from rnn.kernels import build  # noqa: E402 - not installed yet

KERNELS = Path("rnn", "kernels")


class BuildKernels(build_ext):
    """Puts the libraries into the package: the one being built, or the sources' if editable."""

    def run(self) -> None:
        folder = ROOT if self.inplace else Path(self.build_lib)
        for built in build.build_all(folder / KERNELS, compiler=os.environ.get("CXX")):
            if built.problem is None:
                self.announce(f"kernels: {built}", logging.INFO)
            else:
                self.warn(f"kernels: {built}")

    def get_outputs(self) -> list[str]:
        folder = Path(self.build_lib) / KERNELS
        return [str(folder / build.library_file(level)) for level in build.levels()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


def extensions() -> list[Extension]:
    """One, which stands for all libraries: it makes the wheel one of this platform."""
    if os.environ.get("REPRISE_BUILD_KERNELS") == "0":
        return []
    sources = [str(path.relative_to(ROOT)) for path in sorted(build.NATIVE.glob("*.cpp"))]
    return [Extension("rnn.kernels.libreprise", sources)]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
