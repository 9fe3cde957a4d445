"""The foreign channel: one bounded buffer and one thread for all native subscribers (SPEC 2 rule 4, 6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasker_actors.delivery.buffer import DropOldestBuffer, Drops
from tasker_actors.delivery.patterns import PatternIndex
from tasker_actors.delivery.subscription import Adding, Delivery
from tasker_actors.events.outgoing import OutgoingEvent
from tasker_actors.native.bridge import NativeSubscriber
from tasker_actors.telemetry.trace_context import Correlated, Correlation, TraceContext, WorkingOn

_CHECK_INTERVAL_S = 0.05


@dataclass(slots=True)
class _Entry:
    """An event on its way, and the numbers of the subscribers that have not had it yet, the next one last."""

    message: bytes
    source: Correlated
    keys: list[int]


def _nothing() -> _Entry:
    return _Entry(b"", Correlation(None, None), [])


@dataclass(slots=True, eq=False)
class _Delivering:
    """The thread that delivers, and the call that it is in: `key` is None between two calls."""

    key: int | None = None
    deadline: float = 0.0
    entry: _Entry = field(default_factory=_nothing)
    is_abandoned: bool = False
    thread: threading.Thread | None = None


class FfiChannel:
    """Delivers events to native subscribers, in order, from one buffer that drops its oldest when it is full.

    A thread inside native code cannot be interrupted. A call past its limit counts as a failed delivery; its thread is
    left behind in it, another one goes on with the others' deliveries, and that subscriber gets nothing until the call
    returns: what it misses is counted as failed too. `offer` is for the bus's thread, `check` for the worker's clock.
    """

    def __init__(
        self,
        subscribers: Sequence[NativeSubscriber],
        *,
        buffer_size: int,
        buffer_bytes: int,
        timeout_ms: int,
        errors: Adding,
        drops: Drops,
        logger: Any,
    ) -> None:
        self._subscribers = subscribers
        self._index: PatternIndex[int] = PatternIndex(
            (key, pattern) for key, subscriber in enumerate(subscribers) for pattern in subscriber.patterns
        )
        self._buffer: DropOldestBuffer[_Entry] = DropOldestBuffer(buffer_size, buffer_bytes, drops)
        self._timeout = timeout_ms / 1000
        self._errors = errors
        self._logger = logger
        self._lock = threading.Lock()
        self._stuck: set[int] = set()
        self._current: _Delivering | None = None

    @property
    def subscriber_count(self) -> int:
        """How many native subscribers there are."""
        return len(self._subscribers)

    def start(self) -> None:
        """Start delivering; without subscribers no thread is needed."""
        if self._subscribers:
            self._go_on(_nothing())

    def wanted_by(self, event_name: str) -> int:
        """How many native subscribers want events of this name; from any thread."""
        return len(self._index.keys_for(event_name))

    def offer(self, event: OutgoingEvent, trace: TraceContext) -> bool:
        """Take an event that a native subscriber wants, and tell whether one does; never blocks.

        `trace` is what the event was published under.
        """
        keys = self._index.keys_for(event.event_name)
        if keys:
            entry = _Entry(event.message, Delivery(event.event, trace), list(reversed(keys)))
            self._buffer.put(entry, len(event.message))
        return bool(keys)

    def check(self, now: float) -> None:
        """Leave a call behind that is past its limit, and go on with the next delivery in another thread."""
        with self._lock:
            current = self._current
            if current is None or current.key is None or now < current.deadline:
                return
            key = current.key  # the call may return as soon as the lock is free
            current.is_abandoned = True
            self._stuck.add(key)
            self._go_on(current.entry)
        error = f"has not returned within {self._timeout:g} s; it gets nothing until it does"
        self._failed(key, current.entry, error)

    def stop(self) -> None:
        """End the thread after what is buffered now."""
        self._buffer.close()

    def join(self, deadline: float) -> None:
        """Wait for the buffer to be delivered, until `deadline` in monotonic seconds; it checks limits meanwhile."""
        while (thread := self._thread()) is not None and (left := deadline - time.monotonic()) > 0:
            thread.join(min(_CHECK_INTERVAL_S, left))
            self.check(time.monotonic())

    def _thread(self) -> threading.Thread | None:
        """The thread that delivers; None when it has ended or was never started."""
        with self._lock:
            thread = None if self._current is None else self._current.thread
        return thread if thread is not None and thread.is_alive() else None

    def _go_on(self, entry: _Entry) -> None:
        """Start the thread that delivers from now on, first what is left of an entry."""
        current = self._current = _Delivering(entry=entry)
        current.thread = threading.Thread(target=self._run, args=(current,), name="ffi-channel", daemon=True)
        current.thread.start()

    def _run(self, current: _Delivering) -> None:
        entry: _Entry | None = current.entry
        while entry is not None:
            while entry.keys:
                if not self._deliver(current, entry):
                    return
            entry = self._buffer.get()

    def _deliver(self, current: _Delivering, entry: _Entry) -> bool:
        """Call the entry's next subscriber; tells whether this thread is still the one that delivers."""
        key = entry.keys.pop()
        with self._lock:
            if key in self._stuck:
                self._errors.add()  # told when it got stuck, and again when it returns
                return True
            current.key, current.entry, current.deadline = key, entry, time.monotonic() + self._timeout
        error = self._call(key, entry.message)
        with self._lock:
            current.key = None
            if current.is_abandoned:
                self._stuck.discard(key)
        if current.is_abandoned:
            with WorkingOn(entry.source):
                self._logger.warning(
                    "A native subscriber has returned after its time limit", subscriber=self._name(key)
                )
        elif error is not None:
            self._failed(key, entry, error)
        return not current.is_abandoned

    def _call(self, key: int, message: bytes) -> str | None:
        try:
            code = self._subscribers[key].call(message)
        except Exception as error:  # noqa: BLE001 - such as a lack of memory; the thread must go on
            return f"could not be called: {type(error).__name__}: {error}"
        return None if code == 0 else f"returned {code}"

    def _failed(self, key: int, entry: _Entry, error: str) -> None:
        self._errors.add()
        with WorkingOn(entry.source):
            self._logger.warning("A native subscriber failed", subscriber=self._name(key), error=error)

    def _name(self, key: int) -> str:
        return self._subscribers[key].name
