"""What the decorators of a handler function say about it, kept on the function itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext

_MARK = "__tasker_handler__"

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class DependencyInput:
    """A step's result that the function takes, as it is or as a `model`."""

    step_name: str
    model: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class FunctionDeclaration:
    """Everything the decorators said so far; `name` is None until `step_handler` or its like was among them.

    `provided` makes further arguments from the attempt's context; `conclude` makes what counts of what the function
    returned.
    """

    name: str | None = None
    version: str = "1.0.0"
    dependencies: Mapping[str, DependencyInput] = field(default_factory=dict)
    input_keys: tuple[str, ...] = ()
    input_model: type[BaseModel] | None = None
    provided: Mapping[str, Callable[[StepContext], Any]] = field(default_factory=dict)
    conclude: Callable[[Any], Any] | None = None


def declaration_of(candidate: object) -> FunctionDeclaration | None:
    """Return what decorators said about an object, or None.

    Reads the object's own dict only, so that a lazy object in a user's module is not woken up by being looked at.
    """
    try:
        attributes = object.__getattribute__(candidate, "__dict__")
    except AttributeError:
        return None
    found = attributes.get(_MARK)
    return found if isinstance(found, FunctionDeclaration) else None


def declare(function: _Function, declaration: FunctionDeclaration, decorator: str) -> _Function:
    """Keep `declaration` on `function` and return it; TypeError where the object cannot hold it or is a class."""
    if isinstance(function, type) or not callable(function):
        shown = f"class {function.__name__}" if isinstance(function, type) else repr(function)
        msg = (
            f"@{decorator} decorates a function, not {shown};"
            " a class derives from StepHandler and sets handler_name instead"
        )
        raise TypeError(msg)
    with suppress(AttributeError):  # The check below says what to do.
        setattr(function, _MARK, declaration)
    if declaration_of(function) is not declaration:
        msg = f"@{decorator} cannot mark {function!r}: put it directly above the function's def"
        raise TypeError(msg)
    return function
