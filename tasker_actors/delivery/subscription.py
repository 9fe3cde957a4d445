"""One subscriber with its own buffer, thread and time limit, so that it can harm nobody but itself (SPEC 2 rule 3)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Protocol

from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.delivery.buffer import DropOldestBuffer, Drops
from tasker_actors.events.event import DomainEvent
from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.telemetry.span_ids import publish_fast_id
from tasker_actors.telemetry.trace_context import CURRENT, SpanScope, TraceContext, WorkingOn

_CANCELLATION_SECONDS = 0.5
"""What an async subscriber has to end after it was cancelled at its limit, before its thread is interrupted.

An exception raised in the thread at the same moment could hit the loop that is about to cancel.
"""


class DeliveryTimeoutError(BaseException):
    """Raised inside a subscriber that runs past its time limit."""


class Adding(Protocol):
    """A counter that several threads may raise."""

    def add(self, amount: int = 1) -> None:
        """Count more."""


class Delivery:
    """An event in a buffer. What a subscriber does belongs to the span in which the bus got the event.

    A `Correlated`; its ids are worked out when somebody asks, which most subscribers never do.
    """

    __slots__ = ("_published_under", "event")

    def __init__(self, event: DomainEvent, published_under: TraceContext) -> None:
        self.event = event
        self._published_under = published_under

    @property
    def trace(self) -> TraceContext:
        """The span of the event's hand-over."""
        return self._published_under.with_span(publish_fast_id(self.event.event_id))

    @property
    def correlation_id(self) -> str:
        """The event's correlation id."""
        return str(self.event.metadata["correlation_id"])


class Subscription:
    """Delivers events to one subscriber, one at a time and in order, from a bounded buffer that drops its oldest.

    `offer` is for the bus's thread, `check` for the worker's clock. A delivery that goes past its limit is interrupted
    (an async one cancelled first) and counted as failed; one that does not even return then is left behind with its
    thread, and a new thread goes on.
    """

    def __init__(
        self,
        spec: SubscriberSpec,
        *,
        buffer_size: int,
        buffer_bytes: int,
        timeout_ms: int,
        max_stuck: int,
        errors: Adding,
        drops: Drops,
        logger: Any,
        scope: SpanScope | None = None,
    ) -> None:
        self.spec = spec
        self._timeout = timeout_ms / 1000
        self._max_stuck = max_stuck
        self._errors = errors
        self._logger = logger
        self._scope = scope
        self._buffer: DropOldestBuffer[Delivery] = DropOldestBuffer(buffer_size, buffer_bytes, drops)
        self._stuck: list[_Runner] = []
        self._runner: _Runner | None = None

    def start(self) -> None:
        """Start delivering."""
        self._runner = _Runner(self.spec, self._buffer, self._timeout, self._failed, self._scope)
        self._runner.start()

    def offer(self, event: DomainEvent, size: int, trace: TraceContext) -> None:
        """Take an event into the buffer; never blocks. When it is full the oldest one is dropped and counted.

        `size` is that of its message, in bytes; `trace` is what the event was published under.
        """
        self._buffer.put(Delivery(event, trace), size)

    @property
    def waiting(self) -> int:
        """Events in the buffer."""
        return self._buffer.waiting

    @property
    def is_idle(self) -> bool:
        """Whether everything that was offered has been delivered, dropped or given up."""
        return self._buffer.waiting == 0 if self._runner is None else self._buffer.is_settled

    def check(self, now: float, grace: float) -> None:
        """Interrupt a delivery past its limit; replace a thread that does not come back."""
        runner = self._runner
        if runner is None:
            self._take_up_again()
        elif (delivery := runner.guard.check(now, grace)) is not None:
            runner.abandoned = True
            self._stuck = [one for one in self._stuck if one.is_alive()]
            self._stuck.append(runner)
            with WorkingOn(delivery):
                self._failed("did not return even when it was interrupted")
            self._runner = None
            if len(self._stuck) < self._max_stuck:
                self.start()
            else:
                self._logger.error(
                    "a subscriber gets no more events until one of its deliveries returns",
                    subscriber=self.spec.name,
                    stuck_threads=len(self._stuck),
                )

    def _take_up_again(self) -> None:
        stuck = [one for one in self._stuck if one.is_alive()]
        if len(stuck) < len(self._stuck):
            self._stuck = stuck
            self._logger.warning(
                "a subscriber's delivery has returned; it gets events again",
                subscriber=self.spec.name,
                stuck_threads=len(stuck),
            )
            self.start()

    def stop(self) -> None:
        """End the thread after what is buffered now."""
        self._buffer.close()

    def join(self, deadline: float) -> None:
        """Wait for the buffer to be delivered, until `deadline` in monotonic seconds."""
        if self._runner is not None:
            self._runner.join(max(0.0, deadline - time.monotonic()))

    def _failed(self, error: str) -> None:
        self._errors.add()
        self._logger.warning("a subscriber failed", subscriber=self.spec.name, error=error)


class _Runner(threading.Thread):
    """The thread of a subscription; an async subscriber has an event loop of its own in it."""

    def __init__(
        self,
        spec: SubscriberSpec,
        buffer: DropOldestBuffer[Delivery],
        timeout: float,
        failed: Callable[[str], None],
        scope: SpanScope | None,
    ) -> None:
        super().__init__(name=f"subscriber-{spec.name}", daemon=True)
        self.guard: CallGuard[Delivery] = CallGuard(DeliveryTimeoutError)
        self.abandoned = False
        self._spec = spec
        self._buffer = buffer
        self._timeout = timeout
        self._patience = timeout + (_CANCELLATION_SECONDS if spec.is_async else 0.0)
        self._failed = failed
        self._scope = scope

    def run(self) -> None:
        """Deliver until told to stop; nothing that a subscriber raises ends this."""
        loop = asyncio.Runner() if self._spec.is_async else None
        try:
            while not self.abandoned:
                delivery = self._buffer.get()
                if delivery is None:
                    break
                # Log lines of the subscriber, and what it tells actors, carry the event's ids. Nothing else runs in
                # this thread: the next event takes their place, and nothing has to be set back.
                CURRENT.set(delivery)
                self._deliver(delivery, loop)
        finally:
            if loop is not None:
                loop.close()

    def _deliver(self, delivery: Delivery, loop: asyncio.Runner | None) -> None:
        event = delivery.event
        error: str | None = None
        try:
            self.guard.begin(delivery, time.monotonic() + self._patience)
            try:
                if self._scope is None:
                    self._call(event, loop)
                else:
                    with self._scope(lambda: delivery.trace):
                        self._call(event, loop)
            finally:
                self.guard.end()
        except (DeliveryTimeoutError, TimeoutError):
            error = f"timed out after {self._timeout:g} s"
        except BaseException as raised:  # noqa: BLE001 - a subscriber may raise anything, SystemExit too
            error = f"{type(raised).__name__}: {raised}"
        if error is not None and not self.abandoned:
            self._failed(error)

    def _call(self, event: DomainEvent, loop: asyncio.Runner | None) -> None:
        if loop is None:
            self._spec.call(event)
        else:
            loop.run(asyncio.wait_for(self._spec.call(event), self._timeout), context=copy_context())
