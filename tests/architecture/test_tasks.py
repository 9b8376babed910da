"""Every task name that the service announces is one that a worker has registered."""

import ast

from tests.architecture.source import modules
from workers.listening import make_celery


def announced() -> set[str]:
    """First arguments of `send_task`, followed to the constant they name."""
    names: set[str] = set()
    for module in modules("service", "workers"):
        constants = {
            target.id: node.value.value
            for node in module.tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "send_task"
            ):
                argument = node.args[0]
                names.add(
                    constants[argument.id]
                    if isinstance(argument, ast.Name)
                    else ast.literal_eval(argument)
                )
    return names


def test_every_announced_task_is_registered() -> None:
    celery = make_celery("redis://localhost:1/0", print)
    registered = {name for name in celery.tasks if not name.startswith("celery.")}
    assert announced()
    assert announced() == registered
