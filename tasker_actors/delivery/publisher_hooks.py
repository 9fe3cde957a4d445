"""PublisherHooks: runs what users want to do after a commit, apart from everything that must go on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tasker_actors.actors import Actor
from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.delivery.backlog import Backlog
from tasker_actors.events.async_hooks import within
from tasker_actors.events.hooks import notify_published, notify_refused
from tasker_actors.events.outgoing import OutgoingEvent
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.messages import PublisherCallbacks
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.handler_loop import HandlerLoop
from tasker_actors.telemetry.trace_context import Correlated, WorkingOn

_NO_LEASE: Final = 0
"""Whose turn it is on the loop, for a hook of an attempt that is over."""


class HookTimeoutError(BaseException):
    """Raised inside a hook that runs past its time limit."""


@dataclass(frozen=True, slots=True)
class HookCall:
    """A call of a publisher's hook, and what the event came from."""

    publisher: str
    source: Correlated


def has_callbacks(publisher: BasePublisher) -> bool:
    """Tell whether a publisher wants to hear of the commit at all; most do not."""
    kind = type(publisher)
    return (
        kind.after_publish is not BasePublisher.after_publish
        or kind.on_publish_error is not BasePublisher.on_publish_error
    )


def callbacks_size(message: PublisherCallbacks) -> int:
    """Say how many bytes of events, dead letters and results wait with these calls."""
    size = 0
    for event, source in message.events:
        size += len(event.message if isinstance(event, OutgoingEvent) else event.dead_letter)
        if isinstance(source, FinishedStep):
            size += len(source.result or b"")
    return size


class PublisherHooks(Actor):
    """Calls `after_publish` and `on_publish_error`, in commit order, each within the time limit of a delivery.

    Async ones run on `loop`, as before the commit, while this actor waits. What they raise is logged: the event is
    committed and nothing can change that. `backlog` is told of each call that
    is over; who sends them looks there whether there is room.
    """

    def __init__(
        self, *, guard: CallGuard[HookCall], loop: HandlerLoop, backlog: Backlog, timeout_ms: int, logger: Any
    ) -> None:
        self._loop = loop
        self._backlog = backlog
        self._guard = guard
        self._timeout = timeout_ms / 1000
        self._logger = logger

    def receive(self, message: PublisherCallbacks) -> None:
        """Call the hooks of one commit."""
        try:
            for event, source in message.events:
                with WorkingOn(source):
                    call = HookCall(event.publisher_name, source)
                    if isinstance(event, OutgoingEvent):
                        self._run(call, partial(notify_published, event, self._await_hook))
                    else:
                        self._run(call, partial(notify_refused, event, self._await_hook))
        finally:
            self._backlog.remove(len(message.events), callbacks_size(message))

    def _run(self, call: HookCall, hook: Callable[[], None]) -> None:
        try:
            self._guard.begin(call, time.monotonic() + self._timeout)
            try:
                hook()
            finally:
                self._guard.end()
        except BaseException as error:  # noqa: BLE001 - a user's hook may raise anything, SystemExit too
            self._logger.warning(
                "a publisher's hook failed after the commit", publisher=call.publisher, error=repr(error)
            )

    def _await_hook(self, hook: Awaitable[Any]) -> Any:
        return within(hook, partial(self._loop.run, token=_NO_LEASE), self._timeout, HookTimeoutError)
