"""Files as they lie after an upload."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.datasets.limits import Limits
from service.datasets.profile import profile_file

Upload = Callable[[str, str], tuple[Path, dict[str, Any]]]


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    """Writes a file of a name and validates it."""

    def upload(filename: str, content: str) -> tuple[Path, dict[str, Any]]:
        path = tmp_path / f"of-{filename}"
        path.write_bytes(content.encode())
        return path, profile_file(path, filename, Limits())

    return upload
