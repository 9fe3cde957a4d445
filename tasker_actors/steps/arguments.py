"""From a decorated function's parameters to the arguments of one call.

What can be known from the signature is worked out once, when the handler is found; a call only looks values up.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, AliasPath, BaseModel, ValidationError

from tasker_actors.events.text import shortened, storable_text
from tasker_actors.steps.declaration import DependencyInput, FunctionDeclaration
from tasker_actors.steps.failures import InvalidInputError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from tasker_actors.steps.context import StepContext

_CONTEXT = "context"
_INPUTS = "inputs"
_MAX_FAULTS = 20
_MAX_FAULT_CHARS = 200
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class _Target:
    """A parameter of the function; `required` if it has no default of its own."""

    name: str
    required: bool


@dataclass(frozen=True, slots=True)
class _ModelFields:
    """Which keys of the task's context a model can read, and which of them it must find."""

    keys: tuple[str, ...]
    required: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class ArgumentPlan:
    """How to call one function; made by `plan_arguments`."""

    context: str | None
    dependencies: tuple[tuple[_Target, DependencyInput], ...]
    input_keys: tuple[tuple[_Target, str], ...]
    inputs: tuple[str, type[BaseModel], _ModelFields] | None
    provided: tuple[tuple[str, Callable[[StepContext], Any]], ...] = ()

    def arguments(self, context: StepContext) -> dict[str, Any]:
        """Collect one call's arguments; InvalidInputError where a model refuses its data."""
        found: dict[str, Any] = {}
        for target, dependency in self.dependencies:
            result = context.dependency_results.get(dependency.step_name, _ABSENT)
            if result is not _ABSENT or target.required:
                found[target.name] = None if result is _ABSENT else _dependency_value(result, dependency)
        for target, key in self.input_keys:
            value = context.input_data.get(key, _ABSENT)
            if value is not _ABSENT or target.required:
                found[target.name] = None if value is _ABSENT else value
        if self.inputs is not None:
            parameter, model, fields = self.inputs
            found[parameter] = _inputs_value(context.input_data, model, fields)
        for name, provide in self.provided:
            found[name] = provide(context)
        if self.context is not None:
            found[self.context] = context
        return found


def plan_arguments(function: Callable[..., Any], declaration: FunctionDeclaration) -> tuple[ArgumentPlan, list[str]]:
    """Match a function's parameters with what was declared; the faults are sentences, none for a callable plan."""
    claims = _Claims(function)
    context = claims.context()
    dependencies = tuple(
        (claims.take(name, f"@depends_on passes the result of {dependency.step_name!r} as {name!r}"), dependency)
        for name, dependency in declaration.dependencies.items()
    )
    input_keys = tuple((claims.take(key, f"@inputs passes {key!r}"), key) for key in declaration.input_keys)
    provided = tuple(
        (claims.take(name, f"the decorator passes {name!r}").name, provide)
        for name, provide in declaration.provided.items()
    )
    model = declaration.input_model
    inputs = None
    if model is not None:
        parameter = claims.take(_INPUTS, f"@inputs passes a {model.__name__} as {_INPUTS!r}")
        inputs = (parameter.name, model, _model_fields(model))
    plan = ArgumentPlan(context, dependencies, input_keys, inputs, provided)
    return plan, [*claims.faults, *claims.unfilled()]


class _Claims:
    """Who fills which parameter of a function, and what is wrong with that."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._parameters = inspect.signature(function).parameters
        self._takes_any = any(one.kind is one.VAR_KEYWORD for one in self._parameters.values())
        self._taken: dict[str, str] = {}
        self.faults: list[str] = []

    def context(self) -> str | None:
        for name in (_CONTEXT, f"_{_CONTEXT}"):
            if name in self._parameters:
                self._taken[name] = "it is the StepContext"
                return name
        return None

    def take(self, name: str, why: str) -> _Target:
        # tasker-py's modules mark a parameter they do not use with an underscore, `_context` above all.
        actual = next((one for one in (name, f"_{name}") if one in self._parameters), name)
        parameter = self._parameters.get(actual)
        if parameter is None and not self._takes_any:
            self.faults.append(f"{why} but the function has no parameter of that name")
        if actual in self._taken:
            self.faults.append(f"parameter {actual!r} is filled twice: {self._taken[actual]}, and {why}")
        self._taken[actual] = why
        return _Target(actual, required=parameter is None or parameter.default is parameter.empty)

    def unfilled(self) -> Iterator[str]:
        for name, parameter in self._parameters.items():
            if parameter.kind is parameter.POSITIONAL_ONLY:
                yield f"parameter {name!r} is positional-only; handlers are called by name"
            elif (
                name not in self._taken
                and parameter.default is parameter.empty
                and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            ):
                yield (
                    f"nothing fills parameter {name!r}: name it in @depends_on or @inputs, give it a default,"
                    " or call it context to get the StepContext"
                )


def _model_fields(model: type[BaseModel]) -> _ModelFields:
    keys: dict[str, None] = {}
    required: list[tuple[str, tuple[str, ...]]] = []
    for name, info in model.model_fields.items():
        names = (*_alias_keys(info), name)
        keys.update(dict.fromkeys(names))
        if info.is_required() and not isinstance(info.validation_alias, AliasPath | AliasChoices):
            required.append((names[0], names))
    return _ModelFields(tuple(keys), tuple(required))


def _alias_keys(info: FieldInfo) -> list[str]:
    alias = info.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [] if alias is None else [alias]
    heads = [choice.path[0] if isinstance(choice, AliasPath) else choice for choice in choices]
    return [head for head in heads if isinstance(head, str)]


def _inputs_value(data: dict[str, Any], model: type[BaseModel], fields: _ModelFields) -> BaseModel:
    """Build the model from the keys it knows, so that a model that forbids others can read a larger context.

    A required key that is absent is passed as None, as in tasker-py: a field `str | None` without default works.
    """
    known = {key: data[key] for key in fields.keys if key in data}
    missing = [key for key, names in fields.required if not any(name in known for name in names)]
    try:
        return model.model_validate({**known, **dict.fromkeys(missing)})
    except ValidationError as error:
        raise _invalid(f"inputs do not fit {model.__name__}", error, missing) from error


def _dependency_value(result: Any, dependency: DependencyInput) -> Any:
    if dependency.model is None or result is None:
        return result
    try:
        return dependency.model.model_validate(result)
    except ValidationError as error:
        what = f"the result of step {dependency.step_name!r} does not fit {dependency.model.__name__}"
        raise _invalid(what, error, []) from error


def _invalid(what: str, error: ValidationError, missing: list[str]) -> InvalidInputError:
    """Say which fields are wrong and why; the values stay out, because this ends up in logs and events.

    Keys of the data and messages of the user's validators are in it, so it is made storable.
    """
    faults = [
        {"path": _short(".".join(map(str, fault["loc"]))), "message": _short(fault["msg"])}
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    for fault in faults:
        if fault["path"] in missing:
            fault["message"] = "is missing from the task's context"
    listed = [f"{fault['path']}: {fault['message']}" if fault["path"] else fault["message"] for fault in faults]
    if len(faults) > _MAX_FAULTS:
        listed[_MAX_FAULTS:] = [f"and {len(faults) - _MAX_FAULTS} more"]
    return InvalidInputError(f"{what}: {'; '.join(listed)}", metadata={"faults": faults[:_MAX_FAULTS]})


def _short(text: str) -> str:
    return storable_text(shortened(text, _MAX_FAULT_CHARS))
