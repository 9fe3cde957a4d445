"""The two ways to write a handler: a class derived from StepHandler, or a function with @step_handler (SPEC 6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tasker_actors.native.reference import NATIVE_PREFIX
from tasker_actors.steps.declaration import FunctionDeclaration, declaration_of, declare
from tasker_actors.steps.failures import ErrorType
from tasker_actors.steps.handler_class import add_handler_class
from tasker_actors.steps.inputs import depends_on, inputs
from tasker_actors.steps.result import StepHandlerResult

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext

__all__ = ["StepHandler", "depends_on", "inputs", "step_handler"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class StepHandler(ABC):
    """A handler as a class; derive from it, set `handler_name` and write `call`.

    There is one object of the class in a worker process and several threads call it at once, so what belongs to an
    attempt stays in local variables. It is made without arguments, or with `config=` (the step's `initialization`)
    where its constructor needs one.
    """

    handler_name: ClassVar[str] = ""
    """The name that templates use; without one the class is found by its import path only."""

    handler_version: ClassVar[str] = "1.0.0"

    @abstractmethod
    def call(self, context: StepContext) -> Any:
        """Do the work of one attempt; may be `async`.

        Returns a StepHandlerResult, a dict, a pydantic model or None. An exception fails the attempt.
        """

    @property
    def name(self) -> str:
        """The handler's registered name, or its class's name."""
        return self.handler_name or type(self).__name__

    @property
    def version(self) -> str:
        """The handler's version, for its author's use."""
        return self.handler_version

    @property
    def capabilities(self) -> list[str]:
        """What the handler can do, for its author's use."""
        return ["process"]

    def config_schema(self) -> dict[str, Any] | None:
        """Return a JSON schema of the handler's configuration, for its author's use; None for none."""
        return None

    def success(self, result: Any = None, metadata: Mapping[str, Any] | None = None) -> StepHandlerResult:
        """Return a success; see StepHandlerResult.success."""
        return StepHandlerResult.success(result, metadata)

    def failure(
        self,
        message: str,
        error_type: str = ErrorType.HANDLER_ERROR,
        retryable: bool = True,  # noqa: FBT001, FBT002 - third by position in tasker-py, whose modules run here
        metadata: Mapping[str, Any] | None = None,
        error_code: str | None = None,
        retry_after: float | None = None,
    ) -> StepHandlerResult:
        """Return a failure; see StepHandlerResult.failure."""
        return StepHandlerResult.failure(message, error_type, retryable, metadata, error_code, retry_after)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, version={self.version!r})"


def step_handler(name: str, version: str = "1.0.0") -> Callable[[_Function], _Function]:
    """Make a function, sync or async, the handler of that name; the function itself stays as it is.

    It is called with what `depends_on` and `inputs` name, and with the StepContext where it has a parameter
    `context`. TypeError where the decorator is used without a name or on a class.
    """
    return declare_handler(name, version, "step_handler")


def declare_handler(
    name: str,
    version: str,
    decorator: str,
    *,
    mixin: type | None = None,
    provided: Mapping[str, Callable[[StepContext], Any]] | None = None,
    conclude: Callable[[Any], Any] | None = None,
) -> Callable[[_Function], _Function]:
    """Return a decorator that makes a function a handler; see FunctionDeclaration for `provided` and `conclude`.

    `mixin` is what the class that stands for the function derives from, beside StepHandler.
    """
    if not isinstance(name, str) or not name.strip():
        msg = f'{decorator} takes the handler\'s name, as in @{decorator}("flights.validate"); got {name!r}'
        raise TypeError(msg)
    if name.startswith(NATIVE_PREFIX):
        msg = f"{name!r} is no name for a Python handler: {NATIVE_PREFIX!r} means a shared library"
        raise TypeError(msg)

    def decorate(function: _Function) -> _Function:
        known = declaration_of(function) or FunctionDeclaration()
        if known.name is not None:
            msg = f"{function!r} is already the handler {known.name!r}; write a second function for {name!r}"
            raise TypeError(msg)
        declaration = replace(known, name=name, version=version, provided=provided or {}, conclude=conclude)
        declare(function, declaration, decorator)
        bases = (StepHandler,) if mixin is None else (mixin, StepHandler)
        add_handler_class(function, bases, name, version)
        return function

    return decorate
