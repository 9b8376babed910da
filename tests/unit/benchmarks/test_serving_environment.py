from pathlib import Path

import pytest

from benchmarks.serving.environment import prepared


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(SystemExit, match="holds something else"):
        prepared(tmp_path, "")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
