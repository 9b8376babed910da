"""An API process that cannot start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("REPRISE_INFERENCE_DEVICE=cuda", "REPRISE_INFERENCE_DEVICE is cuda, but torch "),
        ("REPRISE_KERNELS=avx512", "The kernels cannot run here at the level avx512: "),
    ],
)
def test_the_last_words_say_why(setting: str, reason: str, tmp_path: Path) -> None:
    name, value = setting.split("=")
    code = (
        "from rnn.kernels import library; library.FOLDER = library.FOLDER / 'nowhere';"
        "from service.serve import main; main([])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            name: value,
            "CUDA_VISIBLE_DEVICES": "",
            "REPRISE_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/nothing",
            "REPRISE_REDIS_URL": "redis://127.0.0.1:1/0",
            "REPRISE_ARTIFACT_DIR": str(tmp_path),
            "REPRISE_PORT": "0",
        },
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(reason)
