"""Find handler classes and functions in users' modules, by class and decorator (SPEC 5)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from tasker_actors.errors import StartupError
from tasker_actors.native.reference import NATIVE_PREFIX
from tasker_actors.steps.bound import place_of
from tasker_actors.steps.declaration import declaration_of
from tasker_actors.steps.handler import StepHandler

HandlerTarget = type[StepHandler] | StepHandler | Callable[..., Any]
"""What a name stands for: a class to make, an object that a test has made, or a decorated function."""


def handlers_in(modules: Iterable[ModuleType]) -> dict[str, HandlerTarget]:
    """Collect handler classes and functions by name; StartupError where two share one.

    What a module has imported counts too, so that one module can gather those of others. Abstract classes and classes
    without a `handler_name` are left out.
    """
    found: dict[str, HandlerTarget] = {}
    for candidate in _values(modules):
        name = _name_of(candidate)
        if name and found.setdefault(name, candidate) is not candidate:
            msg = (
                f"handler {name!r} is defined twice, by {place_of(found[name])} and by {place_of(candidate)};"
                " give one of them another name in @step_handler or handler_name"
            )
            raise StartupError(msg)
    return found


def _name_of(candidate: Any) -> str | None:
    declaration = declaration_of(candidate)
    if declaration is not None and callable(candidate):
        if declaration.name is None:
            msg = f"function {place_of(candidate)} has @depends_on or @inputs and no @step_handler: give it a name"
            raise StartupError(msg)
        return declaration.name
    # type() first, and not isinstance(): a lazy object's __class__ may run the user's code.
    if not issubclass(type(candidate), type) or StepHandler not in candidate.__mro__ or inspect.isabstract(candidate):
        return None
    name = candidate.handler_name
    if not isinstance(name, str) or name.startswith(NATIVE_PREFIX):
        msg = (
            f"handler_name of {place_of(candidate)} must be text that does not start with {NATIVE_PREFIX}, got {name!r}"
        )
        raise StartupError(msg)
    return name


def _values(modules: Iterable[ModuleType]) -> Iterator[Any]:
    for module in modules:
        yield from list(vars(module).values())
