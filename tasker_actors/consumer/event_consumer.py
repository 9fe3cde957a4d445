"""`EventConsumer`: read, process, acknowledge, with each event's trace continued."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from types import TracebackType
from typing import Any, Literal, Self

from tasker_actors.consumer.holding import Held, VisibilityKeeper
from tasker_actors.consumer.invocation import Invocation
from tasker_actors.consumer.reading import Reading
from tasker_actors.consumer.received import ReceivedEvent
from tasker_actors.consumer.stop import StopRequest
from tasker_actors.errors import ConfigurationError
from tasker_actors.events.names import check_namespace
from tasker_actors.postgres.event_queue import EventQueue

_MAX_BATCH = 1_000
_MAX_READS = 1_000_000
_MAX_SECONDS = 86_400


class EventConsumer:
    """Reads the durable events of one namespace in any application, at least once each.

    An event is acknowledged (moved to PGMQ's archive, or deleted) after its handler has returned. One whose handler
    raised comes again when its visibility timeout ends; after `max_reads` it becomes a dead letter of its namespace,
    with the reason, from where it can be redriven. What is no event goes the same way. A process that dies after its
    handler and before the acknowledgement gets the event again: `event.event_id` tells.

    Several consumers, in threads, processes or on machines, share a queue; none gets what another is working on. One
    handles one event at a time, in the order of the queue as far as nothing fails. While the database is away it waits.

    While a handler runs, OpenTelemetry's current span is a CONSUMER span below the publisher's. Log records go to
    logging's `tasker_actors.consumer`, with `queue`, `msg_id`, `read_count`, `correlation_id` and the like as fields.
    """

    def __init__(
        self,
        database_url: str,
        namespace: str,
        *,
        visibility_timeout_s: int = 30,
        batch_size: int = 20,
        poll_interval_s: float = 1.0,
        max_reads: int = 5,
        acknowledge: Literal["archive", "delete"] = "archive",
    ) -> None:
        """Check the arguments, and connect to nothing yet; raises ConfigurationError.

        `visibility_timeout_s` is how long a dead consumer's events stay hidden: it is extended while a handler runs.
        `poll_interval_s` is how long an empty queue is left alone.
        """
        _check(
            check_namespace(namespace),
            _limited("visibility_timeout_s", visibility_timeout_s, _MAX_SECONDS),
            _limited("batch_size", batch_size, _MAX_BATCH),
            _limited("max_reads", max_reads, _MAX_READS),
            _positive("poll_interval_s", poll_interval_s),
            None if acknowledge in ("archive", "delete") else f"acknowledge is {acknowledge!r}: archive or delete",
        )
        self._queue = EventQueue(database_url, namespace, archive=acknowledge == "archive")
        self._visibility_timeout_s = visibility_timeout_s
        self._batch_size = batch_size
        self._poll_interval_s = poll_interval_s
        self._max_reads = max_reads
        self._stop = StopRequest()
        self._running = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and wait until no handler runs any more."""
        self.stop()
        with self._running:
            pass

    def run(self, handler: Callable[[ReceivedEvent], Any], *, until_empty: bool = False) -> None:
        """Give every event to the handler; returns after `stop`, or with `until_empty` when there is nothing to read.

        The handler is called in this thread, an async one on an event loop that is kept between calls. An exception of
        its own fails its event only; KeyboardInterrupt and SystemExit go through. Events that were read and not begun
        are given back on every way out. Raises QueueMissingError where the namespace has no queue, and TaskerError for
        what PostgreSQL refuses for good. An application with an event loop calls this by `asyncio.to_thread`.
        """
        _refuse_in_event_loop()
        if not self._running.acquire(blocking=False):
            raise RuntimeError("this consumer is running already; make another one to read beside it")
        try:
            held = Held()
            keeper = VisibilityKeeper(self._queue, held, visibility_timeout_s=self._visibility_timeout_s)
            with closing(self._queue), Invocation(handler) as invocation, keeper:
                Reading(
                    self._queue,
                    invocation,
                    held,
                    self._stop,
                    visibility_timeout_s=self._visibility_timeout_s,
                    batch_size=self._batch_size,
                    poll_interval_s=self._poll_interval_s,
                    max_reads=self._max_reads,
                ).run(until_empty=until_empty)
        finally:
            self._running.release()

    def stop(self) -> None:
        """Let `run` return when the event in hand is settled, now or when it is called; returns at once.

        May be called from any thread, from the handler, and from a signal handler: signals are the application's.
        """
        self._stop.make()


def _check(*faults: str | None) -> None:
    for fault in faults:
        if fault is not None:
            raise ConfigurationError(f"EventConsumer: {fault}")


def _limited(name: str, value: int, most: int) -> str | None:
    if isinstance(value, int) and 1 <= value <= most:
        return None
    return f"{name} is {value!r}: a whole number from 1 to {most}"


def _positive(name: str, seconds: float) -> str | None:
    return None if 0 < seconds <= _MAX_SECONDS else f"{name} is {seconds}: above 0, at most {_MAX_SECONDS}"


def _refuse_in_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("run() would block this thread's event loop: await asyncio.to_thread(consumer.run, handler)")
