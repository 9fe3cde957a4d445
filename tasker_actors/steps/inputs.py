"""The decorators by which a handler function says what it wants to be called with (SPEC 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel

from tasker_actors.steps.declaration import DependencyInput, FunctionDeclaration, declaration_of, declare

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PAIR = 2


def depends_on(**steps: str | tuple[str, type[BaseModel]]) -> Callable[[_Function], _Function]:
    """Pass results of steps to the function: `x="step"` the raw result as `x`, `x=("step", Model)` as a Model.

    A result that does not fit its model fails the step for good, as `validation_error`. TypeError for a value that
    is neither.
    """
    wanted = {parameter: _dependency(parameter, value) for parameter, value in steps.items()}

    def decorate(function: _Function) -> _Function:
        known = declaration_of(function) or FunctionDeclaration()
        return declare(function, replace(known, dependencies={**known.dependencies, **wanted}), "depends_on")

    return decorate


def inputs(*keys_or_model: str | type[BaseModel]) -> Callable[[_Function], _Function]:
    """Pass values of the task's context to the function: each key by its name, or one Model as `inputs`.

    A key that the context does not have is passed as None, unless the parameter has a default. Inputs that do not
    fit the model fail the step for good, as `validation_error`. TypeError for anything but keys or one model.
    """
    keys = tuple(key for key in keys_or_model if isinstance(key, str) and key)
    models = [given for given in keys_or_model if isinstance(given, type) and issubclass(given, BaseModel)]
    if not keys_or_model or len(keys) + len(models) != len(keys_or_model) or len(models) > 1 or (keys and models):
        given = ", ".join(map(repr, keys_or_model))
        msg = f'inputs takes names of context keys or one pydantic model, as in @inputs("carrier"); got ({given})'
        raise TypeError(msg)

    def decorate(function: _Function) -> _Function:
        known = declaration_of(function) or FunctionDeclaration()
        # The decorator nearest to the function runs first, and a reader expects the keys from top to bottom.
        merged = tuple(dict.fromkeys((*keys, *known.input_keys)))
        model = models[0] if models else known.input_model
        return declare(function, replace(known, input_keys=merged, input_model=model), "inputs")

    return decorate


def _dependency(parameter: str, value: object) -> DependencyInput:
    if isinstance(value, str) and value:
        return DependencyInput(value)
    if isinstance(value, tuple) and len(value) == _PAIR:
        step_name, model = value
        if isinstance(step_name, str) and step_name and isinstance(model, type) and issubclass(model, BaseModel):
            return DependencyInput(step_name, model)
    msg = (
        f'depends_on takes the name of a step or (name, pydantic model), as in @depends_on({parameter}="a_step");'
        f" got {parameter}={value!r}"
    )
    raise TypeError(msg)
