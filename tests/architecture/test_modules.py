"""Small modules with the name of what they hold, and no pickle anywhere."""

import ast
import statistics

from tests.architecture.source import ROOT, modules

MAX_LINES = 500
MAX_MEDIAN_LINES = 200
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "models"}
# Each of these can run code that hides in a file.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE_CALLS = {("torch", "load"), ("torch", "save"), ("yaml", "load"), ("numpy", "load")}


def test_no_module_is_longer_than_a_person_reads() -> None:
    long = {module.name: module.lines for module in modules() if module.lines > MAX_LINES}
    assert not long


def test_the_median_module_is_short() -> None:
    lengths = [module.lines for module in modules("rnn", "service", "workers") if module.lines]
    assert statistics.median(lengths) <= MAX_MEDIAN_LINES


def test_tests_are_held_to_the_same_length() -> None:
    long = [
        path.relative_to(ROOT)
        for folder in ("tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES
    ]
    assert not long


def test_modules_are_named_for_what_they_hold() -> None:
    # schemas/models.py is named for the resource that it describes
    allowed = {"service.api.models", "service.api.schemas.models"}
    vague = {
        module.name
        for module in modules()
        if module.name.rpartition(".")[2] in NAMES_THAT_SAY_NOTHING
    }
    assert not vague - allowed


def test_nothing_is_unpickled() -> None:
    offenders = []
    for module in modules():
        if {name.split(".")[0] for name in module.imports()} & UNSAFE_MODULES:
            offenders.append(module.name)
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and (node.value.id, node.attr) in UNSAFE_CALLS
            ):
                offenders.append(f"{module.name}:{node.lineno}")
    assert not offenders


def test_every_package_says_what_it_is_for() -> None:
    silent = {
        module.name for module in modules() if module.lines and not ast.get_docstring(module.tree)
    }
    assert not silent
