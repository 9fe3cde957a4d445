"""The class that stands for a decorated function, where code or a test wants a class with `call`, as in tasker-py."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from tasker_actors.steps.bound import BoundHandler, bind_function
from tasker_actors.steps.declaration import FunctionDeclaration, declaration_of
from tasker_actors.steps.invoke import failure_from, interpret
from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.workflow.outcome import StepOutcome, StepSuccess

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext


class FunctionalHandler(Protocol):
    """A decorated function: it is called as it was, and `_handler_class` stands for it."""

    _handler_class: type
    __name__: str
    __call__: Callable[..., Any]


def add_handler_class(function: Any, bases: tuple[type, ...], name: str, version: str) -> None:
    """Set `_handler_class` of a function that was declared.

    An object of it gives a StepHandlerResult for whatever the function returns or raises. The runtime does not use it.
    """
    call = _async_call(function) if inspect.iscoroutinefunction(function) else _call(function)
    members = {
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "handler_name": name,
        "handler_version": version,
        "call": call,
    }
    function._handler_class = type(function.__name__, bases, members)  # noqa: SLF001 - tasker-py's name for it


def _call(function: Any) -> Callable[[Any, StepContext], StepHandlerResult]:
    def call(self: Any, context: StepContext) -> StepHandlerResult:  # noqa: ARG001 - a method
        try:
            return _result(interpret(_bound(function).invoke(context)))
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its attempt's failure
            return _result(failure_from(error))

    return call


def _async_call(function: Any) -> Callable[[Any, StepContext], Any]:
    async def call(self: Any, context: StepContext) -> StepHandlerResult:  # noqa: ARG001 - a method
        try:
            return _result(interpret(await _bound(function).invoke(context)))
        except Exception as error:  # noqa: BLE001 - as above
            return _result(failure_from(error))

    return call


def _bound(function: Any) -> BoundHandler:
    # At the call, because decorators above this one say more about the function.
    return bind_function(function, declaration_of(function) or FunctionDeclaration())


def _result(outcome: StepOutcome) -> StepHandlerResult:
    if isinstance(outcome, StepSuccess):
        return StepHandlerResult.success(outcome.result, outcome.metadata)
    return StepHandlerResult.failure(
        outcome.message,
        outcome.error_type,
        outcome.retryable,
        outcome.metadata,
        outcome.error_code,
        None if outcome.retry_after_ms is None else outcome.retry_after_ms / 1000,
    )
