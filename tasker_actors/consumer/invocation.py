"""Calls handlers, plain and async ones, in the thread that reads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

from tasker_actors.consumer.received import ReceivedEvent
from tasker_actors.errors import TaskerError


class HandlerCancelledError(TaskerError):
    """An async handler was cancelled by something that it waited for."""


class Invocation:
    """Calls one handler for one event after the other; an async one on an event loop of its own.

    The loop is the same for all calls, so that a handler can keep clients between them, and turns during calls only.
    """

    def __init__(self, handler: Callable[[ReceivedEvent], Any]) -> None:
        self._handler = handler
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.close()

    def __call__(self, received: ReceivedEvent) -> None:
        """Return when the handler is done; raises what it raises."""
        answer = self._handler(received)
        if inspect.isawaitable(answer):
            try:
                # Its own copy of this thread's context would have the span of the first call for ever.
                self._runner.run(_awaited(answer), context=copy_context())
            except asyncio.CancelledError as error:
                raise HandlerCancelledError("the handler was cancelled") from error


async def _awaited(answer: Awaitable[Any]) -> None:
    await answer
