"""Handlers that a test makes up: what stands for one that calls a payment provider, and may be down twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tasker_actors.steps.bound import BoundHandler, bind_function, place_of
from tasker_actors.steps.context import StepContext
from tasker_actors.steps.declaration import FunctionDeclaration, declaration_of
from tasker_actors.steps.handler import StepHandler
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.testing.errors import KitError
from tasker_actors.workflow.template import HandlerSpec


class Outcomes:
    """What the attempts of a handler come to, one after the other; made with `outcomes`."""

    def __init__(self, given: tuple[Any, ...]) -> None:
        self._given = given
        self.contexts: list[StepContext] = []
        """What it was called with, one a call."""

    @property
    def left(self) -> int:
        """How many outcomes no attempt has come to."""
        return max(0, len(self._given) - len(self.contexts))

    def next(self, context: StepContext) -> BoundHandler:
        """Take the next outcome, as a handler that comes to it."""
        self.contexts.append(context)
        number = len(self.contexts)
        if number > len(self._given):
            raise KitError(
                f"step {context.step_name!r} has a call no. {number}, and outcomes() names {len(self._given)}:"
                " name one for each attempt of each step that it stands for"
            )
        return handler_from(self._given[number - 1], context.handler_name, context.step_config)

    def bound(self, name: str) -> BoundHandler:
        """Make it a handler; an async one if any of its outcomes is."""

        async def invoke(context: StepContext) -> Any:
            handler = self.next(context)
            returned = handler.invoke(context)
            return await returned if handler.is_async else returned

        is_async = any(handler_from(each, name).is_async for each in self._given)
        plain = lambda context: self.next(context).invoke(context)  # noqa: E731 - the one line says it all
        return BoundHandler(name, "1.0.0", repr(self), is_async, invoke if is_async else plain)

    def __repr__(self) -> str:
        return f"outcomes({', '.join(map(repr, self._given))})"


def outcomes(*given: Any) -> Outcomes:
    """Make a handler whose calls come to these outcomes, in order; one call more ends the run with a KitError.

    An exception, or a class of one, is raised; a handler or another callable is called; anything else is returned, as a
    handler would return it.
    """
    if not given:
        raise KitError("outcomes() needs an outcome for each attempt, as in outcomes(RetryableError('down'), {})")
    return Outcomes(given)


def handler_from(
    given: Any, name: str, config: Mapping[str, Any] | None = None, method: str | None = None
) -> BoundHandler:
    """Make anything that may stand for a handler callable; HandlerNotFoundError says why a handler is none.

    That is a StepHandler, as a class or as an object, a function as templates can name it, or for a test a result, an
    exception, `outcomes`, or any other callable that takes the context.
    """
    is_error = isinstance(given, type) and issubclass(given, BaseException)
    if not is_error and (isinstance(given, type | StepHandler) or declaration_of(given) is not None):
        spec = HandlerSpec.model_construct(callable=name, method=method, initialization=dict(config or {}))
        return HandlerRegistry({name: given}, {}, ()).resolve(spec)
    if method is not None:
        raise KitError(f"{given!r} is no class of a handler, so that it has no method {method!r}")
    if isinstance(given, Outcomes):
        return given.bound(name)
    if inspect.isfunction(given):
        return bind_function(given, FunctionDeclaration(name))
    if callable(given) and not is_error:
        return BoundHandler(name, "1.0.0", place_of(given), inspect.iscoroutinefunction(given), given)
    return BoundHandler(name, "1.0.0", place_of(given), is_async=False, invoke=_constant(given))


def _constant(given: Any) -> Callable[[StepContext], Any]:
    """Raise what can be raised, and return anything else."""

    def invoke(_: StepContext) -> Any:
        if isinstance(given, BaseException) or (isinstance(given, type) and issubclass(given, BaseException)):
            raise given
        return given

    return invoke
