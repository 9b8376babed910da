"""`workers` and `service` use `rnn`; `workers` use `service`'s records; nothing uses `workers`."""

import subprocess
import sys

import pytest

from tests.architecture.source import ROOT, is_inside, modules

# (who, may not import)
RULES = [
    ("rnn", "service"),
    ("rnn", "workers"),
    ("rnn", "migrations"),
    ("rnn", "fastapi"),
    ("rnn", "sqlalchemy"),
    ("rnn", "celery"),
    ("rnn", "httpx"),
    ("rnn", "os.environ"),
    ("rnn", "time"),
    ("rnn", "datetime.datetime.now"),
    ("service", "workers"),
    ("service.inference", "fastapi"),
    ("service.inference", "sqlalchemy"),
    ("workers", "fastapi"),
    ("workers", "starlette"),
    ("workers", "service.api"),
    ("workers", "service.dashboard"),
    ("workers", "service.app"),
]
MAY_IMPORT_FASTAPI = ("service.api", "service.dashboard", "service.app")
# What a process that must start fast or stay small loads, and that it stays without torch.
WITHOUT_TORCH = [
    "rnn.config",
    "rnn.errors",
    "rnn.events",
    "rnn.kernels.library",
    "rnn.resolve",
    "rnn.data.examples",
    "service.app",
    "service.cli",
    "service.datasets.reading",
    "workers.app",
    "workers.reaper",
]


@pytest.mark.parametrize(("package", "forbidden"), RULES)
def test_package_does_not_import(package: str, forbidden: str) -> None:
    found = modules(package.split(".")[0])
    assert any(is_inside(module.name, package) for module in found)
    offenders = {
        module.name
        for module in found
        if is_inside(module.name, package)
        and any(is_inside(name, forbidden) for name in module.imports())
    }
    assert not offenders


def test_only_the_http_rooms_import_fastapi() -> None:
    users = {
        module.name
        for module in modules()
        if any(is_inside(name, "fastapi") for name in module.imports())
    }
    assert users, "the rule would hold trivially"
    outside = {u for u in users if not any(is_inside(u, room) for room in MAY_IMPORT_FASTAPI)}
    assert not outside


def test_no_import_cycle_between_modules() -> None:
    known = {module.name: module for module in modules()}
    edges = {
        name: {
            target
            for imported in module.imports(at_start=True)
            # what is imported from a module is not itself one
            if (target := imported if imported in known else imported.rpartition(".")[0]) in known
            and target != name
            and not is_inside(name, target)  # `from package import sibling`
        }
        for name, module in known.items()
    }
    while True:  # take away what imports nothing that is left, until nothing moves
        leaves = {name for name, targets in edges.items() if not targets & edges.keys()}
        if not leaves:
            break
        for name in leaves:
            del edges[name]
    assert not edges, f"modules that import each other: {sorted(edges)}"


def test_these_modules_are_imported_without_torch() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {WITHOUT_TORCH}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(name)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
