"""Writes a file and validates it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.datasets.limits import Limits
from service.datasets.profile import profile_file

Profile = Callable[..., dict[str, Any]]
Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def profile(write: Write) -> Profile:
    """Validates content as a file of the given name."""

    def profile(
        content: str | bytes, filename: str | None = "data.csv", limits: Limits | None = None
    ) -> dict[str, Any]:
        return profile_file(write(content), filename, limits or Limits())

    return profile
