"""A handler that is ready to be called: one function or one method of one object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasker_actors.errors import HandlerNotFoundError
from tasker_actors.steps.arguments import ArgumentPlan, plan_arguments
from tasker_actors.steps.declaration import FunctionDeclaration

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext


_UNDECLARED = FunctionDeclaration()


@dataclass(frozen=True, slots=True)
class BoundHandler:
    """What a template's `handler` stands for in this process.

    `invoke(context)` runs the handler in the calling thread and returns what it returns, a coroutine where `is_async`.
    It raises whatever the handler raises, and InvalidInputError before the handler runs. Several threads call it at
    once. `is_function` is set for a function, which a template's `method` cannot choose anything of.
    """

    name: str
    version: str
    place: str
    is_async: bool
    invoke: Callable[[StepContext], Any]
    is_function: bool = False


def place_of(thing: Any) -> str:
    """Say where a class or function is defined, as an import path."""
    module = getattr(thing, "__module__", None) or "?"
    return f"{module}.{getattr(thing, '__qualname__', None) or type(thing).__qualname__}"


def bind_function(function: Callable[..., Any], declaration: FunctionDeclaration = _UNDECLARED) -> BoundHandler:
    """Prepare a function for calls; HandlerNotFoundError with every fault of its signature."""
    place = place_of(function)
    plan, faults = plan_arguments(function, declaration)
    _refuse_generator(function, place)
    if faults:
        msg = f"handler function {place} cannot be called: {'; '.join(faults)}"
        raise HandlerNotFoundError(msg)

    is_async = inspect.iscoroutinefunction(function)
    return BoundHandler(
        name=declaration.name or str(getattr(function, "__name__", place)),
        version=declaration.version,
        place=place,
        is_async=is_async,
        invoke=_call_of(function, plan, declaration.conclude, is_async=is_async),
        is_function=True,
    )


def _call_of(
    function: Callable[..., Any], plan: ArgumentPlan, conclude: Callable[[Any], Any] | None, *, is_async: bool
) -> Callable[[StepContext], Any]:
    def call(context: StepContext) -> Any:
        return function(**plan.arguments(context))

    if conclude is None:
        return call
    if is_async:

        async def call_and_await(context: StepContext) -> Any:
            return conclude(await call(context))

        return call_and_await
    return lambda context: conclude(call(context))


def require_method(handler_class: type, method_name: str) -> None:
    """Raise HandlerNotFoundError where a class has no such method, before anybody makes an object of it."""
    if not callable(getattr(handler_class, method_name, None)):
        public = [one for one in dir(handler_class) if one[0] != "_" and callable(getattr(handler_class, one, None))]
        msg = f"handler class {place_of(handler_class)} has no method {method_name!r}; it has {', '.join(public)}"
        raise HandlerNotFoundError(msg)


def bind_method(handler: Any, method_name: str, name: str) -> BoundHandler:
    """Prepare a method of a handler object for calls; HandlerNotFoundError where it does not take a context."""
    place = place_of(type(handler))
    method = getattr(handler, method_name)
    _refuse_generator(method, f"{place}.{method_name}")
    try:
        inspect.signature(method).bind(None)
    except (TypeError, ValueError) as error:
        msg = f"handler method {place}.{method_name} must take the StepContext and nothing else: {error}"
        raise HandlerNotFoundError(msg) from error
    version = getattr(handler, "handler_version", "1.0.0")
    return BoundHandler(name, str(version), place, inspect.iscoroutinefunction(method), method)


def _refuse_generator(function: Callable[..., Any], place: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        msg = f"handler {place} has a yield, so that calling it runs nothing; return the result instead"
        raise HandlerNotFoundError(msg)
