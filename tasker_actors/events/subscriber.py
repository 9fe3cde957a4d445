"""Subscribers: functions and classes that are called for the fast events that match their patterns (SPEC 2.3, 6)."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from tasker_actors.events.event import DomainEvent
from tasker_actors.events.text import described

MARK = "__tasker_subscription_patterns__"
"""The attribute in which a marked function keeps its patterns."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class SubscriberSpec:
    """A subscriber as the bus needs it: call it with an event, and await the answer if `is_async`.

    `name` is module and qualified name. `call` raises what the subscriber raises. The patterns are not compiled yet.
    """

    name: str
    patterns: tuple[str, ...]
    call: Callable[[DomainEvent], Any]
    is_async: bool


class BaseSubscriber(ABC):
    """A subscriber with hooks around `handle`, which may be async as `handle` may.

    Say what it subscribes to in `patterns` or in `subscribes_to()`. One instance is made without arguments when its
    module is loaded, and serves all events of a worker.
    """

    patterns: ClassVar[Sequence[str]] = ()

    @classmethod
    def subscribes_to(cls) -> Sequence[str]:
        """Return the patterns; by default `patterns`."""
        return cls.patterns

    @abstractmethod
    def handle(self, event: DomainEvent) -> Any:
        """Take an event. What this raises is counted as a failed delivery and never reaches another subscriber."""

    def before_handle(self, event: DomainEvent) -> Any:  # noqa: ARG002  the hook's signature is what users see
        """Return False to skip the event."""
        return True

    def after_handle(self, event: DomainEvent) -> Any:  # noqa: B027  a hook that may be left as it is
        """Take note of an event that was handled."""

    def on_handle_error(self, event: DomainEvent, error: Exception) -> Any:  # noqa: B027  as above
        """Take note of an error of the hooks or of `handle`; the delivery has failed all the same."""


def subscriber(*patterns: str) -> Callable[[F], F]:
    """Mark a function, sync or async, as a subscriber to these patterns; it stays callable as it was.

    Several marks on one function add up. Raises TypeError for anything but one or more texts on a function.
    """
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError('subscriber needs patterns, as in @subscriber("flight.*")')

    def mark(function: F) -> F:
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"@subscriber marks functions; a class says its patterns itself: {function!r}")
        setattr(function, MARK, (*patterns, *getattr(function, MARK, ())))
        return function

    return mark


def call_of(instance: BaseSubscriber) -> tuple[Callable[[DomainEvent], Any], bool]:
    """Wrap the hooks around `handle`, and say whether the call has to be awaited: it does if any of them is async."""
    hooks = (instance.before_handle, instance.handle, instance.after_handle, instance.on_handle_error)
    if any(inspect.iscoroutinefunction(hook) for hook in hooks):
        return _awaiting_call(instance), True
    return _plain_call(instance), False


def _plain_call(instance: BaseSubscriber) -> Callable[[DomainEvent], Any]:
    def call(event: DomainEvent) -> None:
        try:
            if instance.before_handle(event):
                instance.handle(event)
                instance.after_handle(event)
        except Exception as error:
            try:
                instance.on_handle_error(event, error)
            except Exception as raised:  # noqa: BLE001  the delivery's own error matters more, and carries this one
                error.add_note(f"on_handle_error raised {described(raised)}")
            raise

    return call


def _awaiting_call(instance: BaseSubscriber) -> Callable[[DomainEvent], Any]:
    async def call(event: DomainEvent) -> None:
        try:
            if await _settled(instance.before_handle(event)):
                await _settled(instance.handle(event))
                await _settled(instance.after_handle(event))
        except Exception as error:
            try:
                await _settled(instance.on_handle_error(event, error))
            except Exception as raised:  # noqa: BLE001  as above
                error.add_note(f"on_handle_error raised {described(raised)}")
            raise

    return call


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
