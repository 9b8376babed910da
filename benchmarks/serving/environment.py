"""The Python that peers run in: a virtual environment of its own, made once."""

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.kernels.measure import say

PEERS = Path(__file__).with_name("peers")
REQUIREMENTS = PEERS / "requirements.txt"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def prepared(folder: Path, torch_index: str) -> Path:
    """The Python of an environment with every peer, installed if it is not there yet.

    Args:
        torch_index: where torch's CPU builds are; empty: where pip looks anyhow.
    """
    python = folder / "bin" / "python"
    constraint = f"torch=={version('torch')}\n"  # our own build: a peer shall not bring another
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + constraint.encode()).hexdigest()
    mark = folder / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return python.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        sys.exit(f"{folder} holds something else: choose another folder with --peers-in")
    say(f"peers: installing into {folder}, which takes minutes")
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    constraints = folder / "constraints.txt"
    constraints.write_text(constraint)
    command: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        constraints,
    ]
    if torch_index:
        command += ["--extra-index-url", torch_index]
    subprocess.run([*command, "--requirement", REQUIREMENTS], check=True)
    mark.write_text(wanted)
    return python.absolute()


def versions(python: Path, names: list[str]) -> dict[str, str]:
    """Of installed packages, as that Python sees them."""
    script = "import sys; from importlib.metadata import version as v; print(*map(v, sys.argv[1:]))"
    done = subprocess.run(
        [python, "-c", script, *names], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(zip(names, done.stdout.split(), strict=True))
