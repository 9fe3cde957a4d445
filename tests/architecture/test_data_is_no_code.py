"""Nothing in the package turns data into code, or a text into a shell's command (DESIGN G12)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tasker_actors"

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "copyreg", "multiprocessing"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {("os", "system"), ("os", "popen"), ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load")}


def faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that could run what it is given."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = [name.name for name in names if name.name.partition(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                found = [module]
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                found = [name]
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if (owner, name) in METHODS:
                found = [f"{owner}.{name}"]
            case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                found = ["shell=True"]
            case _:
                continue
        yield from ((node.value.lineno if isinstance(node, ast.keyword) else node.lineno, name) for name in found)  # type: ignore[attr-defined]  # every case above has a line


@pytest.mark.parametrize("line", ["import pickle", "from multiprocessing import Pipe", "eval('1')", "os.system(x)",
                                  "yaml.load(x)", "run(x, shell=True)"])  # fmt: skip
def test_what_is_looked_for_is_found(line: str) -> None:
    assert [number for number, _ in faults(ast.parse(line))] == [1]


def test_nothing_in_the_package_runs_what_it_is_given() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{number}: {name}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for number, name in faults(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []
