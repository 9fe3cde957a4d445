"""Import users' modules, and tell what went wrong in words that their author can use."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tasker_actors.errors import StartupError
from tasker_actors.events.text import described


def import_modules(names: Sequence[str]) -> list[ModuleType]:
    """Import modules by dotted name, from the working directory first; each once, in the order given.

    Puts the working directory on sys.path, where it stays for what those modules import later. Runs the modules'
    code in this thread. Raises StartupError naming the first module that cannot be imported, and why; whatever the
    module raises, sys.exit() included, becomes that error.
    """
    working_directory = str(Path.cwd())
    if not {"", working_directory} & set(sys.path):
        sys.path.insert(0, working_directory)
    importlib.invalidate_caches()  # A module written a moment ago is found too.
    return [import_module(name) for name in dict.fromkeys(names)]


def import_module(name: str) -> ModuleType:
    """Import one module; StartupError names it and the cause."""
    if not all(part.isidentifier() for part in name.split(".")):
        msg = f"{name!r} is not the dotted name of a module{_file_hint(name)}"
        raise StartupError(msg)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # A module's code can raise anything, and ends the start.
        msg = f"cannot import module {name!r}: {_cause(name, error)}"
        raise StartupError(msg) from error


def is_missing(name: str, error: StartupError) -> bool:
    """Tell whether `import_module` failed because there is no module of that name, not because of what is in it."""
    cause = error.__cause__
    return cause is None or (isinstance(cause, ModuleNotFoundError) and _is_prefix(cause.name, name))


def _cause(name: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and _is_prefix(error.name, name):
        return f"there is no module {error.name!r} in {Path.cwd()}, on PYTHONPATH or installed{_file_hint(name)}"
    what = "it called sys.exit()" if isinstance(error, SystemExit) else described(error)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib") and frame.filename not in (__file__, importlib.__file__)
    ]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{what}{place}{_alias_hint(error)}"


def _alias_hint(error: BaseException) -> str:
    if not isinstance(error, ModuleNotFoundError) or (error.name or "").partition(".")[0] != "tasker_core":
        return ""
    return "; for a module written for tasker-py name tasker_actors.compat.alias in --handlers before it"


def _file_hint(name: str) -> str:
    if not name.endswith(".py"):
        return ""
    dotted = ".".join(Path(name).with_suffix("").parts).lstrip(".")
    return f"; write {dotted!r} for that file"


def _is_prefix(missing: str | None, name: str) -> bool:
    return missing is not None and f"{name}.".startswith(f"{missing}.")
