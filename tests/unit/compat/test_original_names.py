"""Every name that tasker-py's package says it has is here, or its absence says what to do.

The names are read from the installed package's text: to import it would load its native module.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

import tasker_actors
from tasker_actors import compat
from tasker_actors.compat.absent import GUIDANCE

TASKER_PY = Path(sys.prefix) / "tasker-py" / "tasker_core"
SUBMODULES = [
    "batch_processing",
    "domain_events",
    "errors",
    "errors.error_classifier",
    "exceptions",
    "handler",
    "logging",
    "models",
    "registry",
    "step_handler",
    "step_handler.base",
    "step_handler.functional",
    "step_handler.mixins",
    "types",
]
OWN = "belongs to tasker-py's own", "is raised by tasker-py's own"


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """The test's own copy of tasker-py."""
    if not TASKER_PY.exists():
        pytest.skip(f"tasker-py is not in {TASKER_PY.parent}: scripts/test puts it there")


def public_names(module: str) -> set[str]:
    """What a module of tasker-py lists in `__all__`, or defines where it has no such list."""
    path = TASKER_PY.joinpath(*module.split(".")) if module else TASKER_PY
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    return {name for name in defined if not name.startswith("_")}


def absent(module: object, names: set[str]) -> set[str]:
    """Which names a module refuses; fails for one that is simply missing."""
    refused: dict[str, str] = {}
    missing: set[str] = set()
    for name in names:
        try:
            getattr(module, name)
        except ImportError as error:
            refused[name] = str(error)
        except AttributeError:
            missing.add(name)
    assert missing == set()
    assert [text for text in refused.values() if not any(each in text for each in OWN)] == []
    return set(refused)


def test_the_list_of_the_original_is_read():
    assert len(public_names("")) > 100
    assert {"StepHandler", "BasePublisher", "TaskWrapper", "EventPoller"} <= public_names("")


def test_every_name_at_its_top_is_here_by_both_names():
    names = public_names("")
    at_the_top = absent(tasker_actors, names)

    assert absent(compat, names) == at_the_top | {"TaskerClient"}
    assert names - at_the_top <= set(tasker_actors.__all__)
    assert names - at_the_top - {"TaskerClient"} <= set(compat.__all__)


@pytest.mark.parametrize("module", SUBMODULES)
def test_every_name_of_its_modules_is_here(module):
    home = "step_handler" if module == "step_handler.base" else module

    absent(importlib.import_module(f"tasker_actors.compat.{home}"), public_names(module))


def test_no_guidance_is_given_for_a_name_that_the_original_does_not_have():
    modules = {".".join(path.relative_to(TASKER_PY).with_suffix("").parts) for path in TASKER_PY.rglob("*.py")}
    known = set().union(*(public_names(module.removesuffix("__init__").removesuffix(".")) for module in modules))

    assert set(GUIDANCE) <= known
