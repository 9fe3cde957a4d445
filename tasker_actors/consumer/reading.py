"""One run of a consumer: batch after batch, message after message, through outages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from opentelemetry.trace import Span

from tasker_actors.consumer import process_span as spans
from tasker_actors.consumer.holding import Held
from tasker_actors.consumer.received import (
    NotAnEventError,
    ReceivedEvent,
    correlation_id,
    read_event,
    read_headers,
)
from tasker_actors.consumer.rules import LAST_TRY, Verdict, is_exhausted, verdict
from tasker_actors.consumer.stop import StopRequest
from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.events.event import DomainEvent
from tasker_actors.events.text import described
from tasker_actors.postgres.event_queue import EventQueue, QueuedMessage
from tasker_actors.telemetry.trace_context import correlated

logger = logging.getLogger("tasker_actors.consumer")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A message as far as it could be read: an event, or the reason why it is none."""

    message: QueuedMessage
    headers: Mapping[str, Any]
    content: DomainEvent | NotAnEventError

    @property
    def event(self) -> DomainEvent | None:
        return self.content if isinstance(self.content, DomainEvent) else None

    @property
    def correlation_id(self) -> str | None:
        return correlation_id(self.headers, self.event)

    def received(self) -> ReceivedEvent:
        """Make what the handler gets; raises the reason where it is no event."""
        if isinstance(self.content, NotAnEventError):
            raise self.content
        message = self.message
        return ReceivedEvent(self.content, message.msg_id, message.read_count, message.enqueued_at, self.headers)


class Reading:
    """Reads, handles and settles until it is asked to stop. For one thread, and one call of `run`."""

    def __init__(
        self,
        queue: EventQueue,
        handle: Callable[[ReceivedEvent], None],
        held: Held,
        stop: StopRequest,
        *,
        visibility_timeout_s: int,
        batch_size: int,
        poll_interval_s: float,
        max_reads: int,
    ) -> None:
        self._queue = queue
        self._handle = handle
        self._held = held
        self._stop = stop
        self._visibility_timeout_s = visibility_timeout_s
        self._batch_size = batch_size
        self._poll_interval_s = poll_interval_s
        self._max_reads = max_reads

    def run(self, *, until_empty: bool) -> None:
        """Return after a request to stop, or when there is nothing to read; see `EventConsumer.run`."""
        logger.info("Event consumer started", extra={"queue": self._queue.name})
        try:
            while not self._stop.made:
                if not self._one_batch() and (until_empty or self._stop.wait(self._poll_interval_s)):
                    break
        finally:
            logger.info("Event consumer stopped", extra={"queue": self._queue.name})

    def _one_batch(self) -> bool:
        try:
            batch = self._through_outages(lambda: self._queue.read(self._batch_size, self._visibility_timeout_s))
        except DatabaseUnavailableError:
            return False  # asked to stop during an outage, which is in the log
        self._held.take((message.msg_id, message.read_count) for message in batch)
        try:
            for message in batch:
                if self._stop.made:
                    break
                if message.msg_id in self._held:
                    self._one(message)
        finally:
            self._give_back()
        return bool(batch)

    def _one(self, message: QueuedMessage) -> None:
        delivery = _delivery(message)
        try:
            with correlated(spans.publisher_of(delivery.headers), delivery.correlation_id):
                if self._may_be_handled(delivery):
                    self._deliver(delivery)
        except DatabaseUnavailableError:
            logger.error("An event could not be settled before the stop; it comes again", extra=self._fields(delivery))
        finally:
            # Also when the application interrupts: what a handler has begun is never given back uncounted.
            self._held.drop([message.msg_id])

    def _may_be_handled(self, delivery: _Delivery) -> bool:
        message = delivery.message
        match verdict(message.read_count, self._max_reads, delivery.headers):
            case Verdict.HANDLE:
                return True
            case Verdict.LAST_TRY:
                return self._through_outages(lambda: self._queue.mark(message, LAST_TRY))
            case Verdict.REJECT:
                reason = f"it was read {message.read_count} times, and its last consumer neither finished nor failed"
                self._reject(delivery, "consumer_lost", reason)
                return False

    def _deliver(self, delivery: _Delivery) -> None:
        message = delivery.message
        span = spans.process_span(
            self._queue.name, message.msg_id, message.read_count, delivery.headers, delivery.event
        )
        with correlated(spans.named_by(span), delivery.correlation_id):
            error = self._error_of(delivery, span)
            if error is None:
                self._acknowledge(delivery)
            elif is_exhausted(message.read_count, self._max_reads):
                code = "handler_failed" if delivery.event is not None else "not_an_event"
                self._reject(delivery, code, described(error), error)
            else:
                logger.warning("Handling an event failed; it comes again", extra=self._fields(delivery), exc_info=error)

    def _error_of(self, delivery: _Delivery, span: Span) -> Exception | None:
        """Hand the event over and return what was raised; what is no event fails like a handler, in the same span."""
        try:
            with spans.current(span):
                self._handle(delivery.received())
        except Exception as error:  # noqa: BLE001  a handler may raise anything; its event is not acknowledged
            return error
        return None

    def _acknowledge(self, delivery: _Delivery) -> None:
        if not self._settled(lambda: self._queue.acknowledge(delivery.message.msg_id)):
            logger.warning("An event was acknowledged by another consumer too", extra=self._fields(delivery))

    def _reject(self, delivery: _Delivery, code: str, reason: str, error: Exception | None = None) -> None:
        message = delivery.message
        fields = self._fields(delivery) | {"reason": code}
        if self._settled(lambda: self._queue.reject(message, code=code, reason=reason)):
            logger.error("An event became a dead letter", extra=fields, exc_info=error)
        else:
            logger.warning("An event failed while another consumer had it too", extra=fields, exc_info=error)

    def _settled(self, work: Callable[[], bool]) -> bool:
        """Do work through outages; False if the message was not ours any more.

        A try whose connection was cut may have done it, so that the next one finds nothing and says so.
        """
        tries = 0

        def counted() -> bool:
            nonlocal tries
            tries += 1
            return work()

        return self._through_outages(counted) or tries > 1

    def _give_back(self) -> None:
        """Give back what was not begun; if the database is away it comes back by its visibility timeout, counted."""
        held = self._held.all()
        self._held.drop(held)
        if held:
            try:
                self._queue.give_back(held)
            except DatabaseUnavailableError:
                logger.warning(
                    "Events that were not begun could not be given back; they come again after their timeout",
                    extra={"queue": self._queue.name, "msg_ids": list(held)},
                )

    def _through_outages(self, work: Callable[[], _T]) -> _T:
        """Repeat work until the database answers; once asked to stop, try once more and raise what comes of it."""
        stopping = False
        while True:
            try:
                return work()
            except DatabaseUnavailableError:
                if stopping:
                    raise
                stopping = self._stop.wait(self._queue.pause_s())

    def _fields(self, delivery: _Delivery) -> dict[str, Any]:
        event = delivery.event
        return {
            "queue": self._queue.name,
            "msg_id": delivery.message.msg_id,
            "read_count": delivery.message.read_count,
            "correlation_id": delivery.correlation_id,
            "event_id": event and event.event_id,
            "event_name": event and event.event_name,
        }


def _delivery(message: QueuedMessage) -> _Delivery:
    headers = read_headers(message.headers)
    try:
        return _Delivery(message, headers, read_event(message.message))
    except NotAnEventError as fault:
        return _Delivery(message, headers, fault)
