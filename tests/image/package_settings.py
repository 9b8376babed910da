"""Hands this machine's configuration of pip and npm to a build: writes a pip.conf and an npmrc,
prints buildah's options.

`python tests/image/package_settings.py FOLDER`. Folders and files of this machine that the settings
name (wheels, a certificate) are mounted at the same place, read-only, for the time of the build.
"""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

PLACES = {"find-links", "index-url", "extra-index-url"}  # where packages come from
INHERITED = PLACES | {"cert", "trusted-host", "proxy", "timeout", "default-timeout", "retries"}


def settings() -> dict[str, str]:
    """What `pip config list` says, the environment's value before a file's."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        scope, _, rest = line.partition(".")
        name, _, value = rest.partition("=")
        if scope in ("global", "install", ":env:") and name in INHERITED:
            found[name] = str(ast.literal_eval(value))
    return found


def folders(value: str) -> set[Path]:
    """The local places that a setting names."""
    found = set()
    for word in re.split(r"\s+", value.strip()):
        path = Path(unquote(urlsplit(word).path) if word.startswith("file:") else word)
        if path.is_absolute() and path.exists():
            # The pages of an index link to files beside it.
            found.add(path.parent if path.name == "simple" else path)
    return found


def npm_settings() -> dict[str, str]:
    """Where npm takes packages from, and whom it trusts; empty without npm."""
    npm = shutil.which("npm")
    if npm is None:
        return {}
    found = {}
    for name in ("registry", "cafile"):
        asked = [npm, "config", "get", name]
        value = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        if value not in ("", "null", "undefined"):
            found[name] = value
    return found


def main() -> None:
    pip_conf, npmrc = Path(sys.argv[1], "pip.conf"), Path(sys.argv[1], "npmrc")
    found, of_npm = settings(), npm_settings()
    npmrc.write_text("".join(f"{name}={value}\n" for name, value in of_npm.items()))
    config = configparser.RawConfigParser()
    config["global"] = found
    with pip_conf.open("w") as file:
        config.write(file)
    named = [*found.values(), *of_npm.values()]
    mounts = {path for value in named for path in folders(value)}
    options = [f"--volume={pip_conf}:/etc/pip.conf:ro", f"--volume={npmrc}:/root/.npmrc:ro"]
    options += [f"--volume={path}:{path}:ro" for path in sorted(mounts)]
    index = os.environ.get("TORCH_INDEX_URL", "" if PLACES & found.keys() else None)
    if index is not None:
        options.append(f"--build-arg=TORCH_INDEX_URL={index}")
    print(*options, sep="\n")


if __name__ == "__main__":
    main()
