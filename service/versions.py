"""Versions of what this process runs with, told without importing it."""

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """Of Reprise, Python and torch."""
    return {
        "reprise": version("reprise"),
        "python": platform.python_version(),
        "torch": version("torch"),
    }
