"""The spans of one commit: the tree of SPEC 4.2, made of what was kept of its attempts and of recorded times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from tasker_actors.delivery.traced import TracedAttempt, TracedEvent, TracedPublication, TracedTask
from tasker_actors.telemetry import span_ids
from tasker_actors.telemetry.spans import PRODUCER, SpanError, attribute, known_attribute, span
from tasker_actors.telemetry.trace_context import TraceContext

_SPAN_BYTES: Final = 512
"""About what is kept of one span: ids, names and times; texts of errors come on top."""
_BUS_REFUSED: Final = SpanError("bus_refused", "the in-process bus was stopped or being restarted")


@dataclass(frozen=True, slots=True)
class CommitTimes:
    """When a commit went through its stations, in monotonic seconds: sent to PostgreSQL, answered, taken up by the
    router, counted, handed to the bus.
    """

    sent: float
    committed: float
    taken_up: float
    counted: float
    handed_over: float


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """A task that the commit finished, and its final status."""

    task: TracedTask
    status: str
    fault: SpanError | None = None


@dataclass(slots=True)
class CommitSpans:
    """Spans to be exported; encoded when `encode` is called, in the exporter's thread.

    `subscribers` tells how many subscribers an event name has; `bus_accepted` is False if fast events were refused.
    """

    times: CommitTimes
    attempts: Sequence[TracedAttempt]
    publications: Sequence[TracedPublication] = ()
    finished: Sequence[FinishedTask] = ()
    subscribers: Callable[[str], int] = field(default=lambda _: 0)
    bus_accepted: bool = True
    epoch_ns: int = field(default_factory=lambda: time.time_ns() - time.monotonic_ns())
    """From the monotonic clock to the one of the day, as both stand when the commit is over."""

    @property
    def count(self) -> int:
        """How many spans this makes."""
        return (
            len(self.finished)
            + sum(1 + 2 * (each.handled_s is not None) + _of_events(each.events) for each in self.attempts)
            + sum(_of_events(each.events) for each in self.publications)
        )

    @property
    def size(self) -> int:
        """About how many bytes of memory this holds until it is encoded."""
        faults = [each.fault for each in self.finished] + [each.fault for each in self.attempts]
        for events in [each.events for each in self.attempts] + [each.events for each in self.publications]:
            faults += [event.fault for event in events]
        return self.count * _SPAN_BYTES + sum(len(fault.message) for fault in faults if fault is not None)

    def encode(self) -> list[bytes]:
        """Encode the spans, children after their parents."""
        spans: list[bytes] = []
        for finished in self.finished:
            spans.append(self._task_execution(finished))
        for attempt in self.attempts:
            spans.extend(self._attempt(attempt))
        for publication in self.publications:
            spans.extend(self._publication(publication))
        return spans

    def _ns(self, moment: float) -> int:
        return int(moment * 1e9) + self.epoch_ns

    def _task_execution(self, finished: FinishedTask) -> bytes:
        task = finished.task
        return span(
            "task_execution",
            task.trace,
            task.trace.span_id,
            task.parent_span_id,
            _created_ns(task.task_uuid),
            self._ns(self.times.committed),
            _of_task(task) + known_attribute("task.name", task.name) + known_attribute("task.status", finished.status),
            remote_parent=True,
            error=finished.fault,
            records_exception=False,
        )

    def _attempt(self, attempt: TracedAttempt) -> Iterator[bytes]:
        task, trace, fault = attempt.task, attempt.trace, attempt.fault
        common = (
            _of_task(task) + attribute("step_uuid", attempt.step_uuid) + known_attribute("step_name", attempt.step_name)
        )
        began, finished = self._ns(attempt.began_at), self._ns(attempt.finished_at)
        yield span(
            "step_execution",
            trace,
            trace.span_id,
            task.trace.span_id,
            began,
            self._ns(self.times.handed_over) if attempt.events else finished,
            common + known_attribute("attempt", attempt.attempt) + known_attribute("worker.slot", attempt.slot),
            remote_parent=True,
            error=fault or attempt.not_stored,
            # The exception is recorded on the handler's span or the submission's, where there are any.
            records_exception=attempt.handled_s is None,
        )
        if attempt.handled_s is not None:
            yield span(
                "handler_call",
                trace,
                span_ids.handler_call_id(trace.span_id),
                trace.span_id,
                began,
                self._ns(attempt.began_at + attempt.handled_s),
                common + known_attribute("handler", attempt.handler_name),
                error=fault,
            )
        for event in attempt.events:
            yield from self._event(event, trace, trace.span_id, attempt.finished_at, common)
        if attempt.handled_s is not None:
            yield span(
                "result_submission",
                trace,
                span_ids.result_submission_id(trace.span_id),
                task.trace.span_id,
                finished,
                self._ns(self.times.committed),
                common + known_attribute("step.state", attempt.state),
                remote_parent=True,
                error=attempt.not_stored,
            )

    def _publication(self, publication: TracedPublication) -> Iterator[bytes]:
        for event in publication.events:
            parent = publication.trace.span_id
            is_root = parent == span_ids.publish_domain_event_id(event.event_id)
            common = known_attribute("namespace", event.namespace)
            common += attribute("correlation_id", publication.correlation_id)
            yield from self._event(
                event, publication.trace, None if is_root else parent, publication.began_at, common, remote_parent=True
            )

    def _event(
        self,
        event: TracedEvent,
        trace: TraceContext,
        parent: str | None,
        began_at: float,
        common: bytes,
        *,
        remote_parent: bool = False,
    ) -> Iterator[bytes]:
        mode = event.delivery_mode
        own = span_ids.publish_domain_event_id(event.event_id)
        began, ended = self._ns(began_at), self._ns(self.times.handed_over)
        with_mode = common + known_attribute("delivery_mode", mode.value)
        yield span(
            "publish_domain_event",
            trace,
            own,
            parent,
            began,
            ended,
            with_mode + known_attribute("event_name", event.event_name) + attribute("event_id", event.event_id),
            remote_parent=remote_parent,
            error=event.fault,
        )
        if event.fault is None:
            yield from self._routes(event, trace, own, began, ended, with_mode, common)
        yield span(
            "record_metrics",
            trace,
            span_ids.record_metrics_id(event.event_id),
            own,
            self._ns(self.times.taken_up),
            self._ns(self.times.counted),
            common,
        )

    def _routes(
        self,
        event: TracedEvent,
        trace: TraceContext,
        parent: str,
        began: int,
        ended: int,
        with_mode: bytes,
        common: bytes,
    ) -> Iterator[bytes]:
        mode = event.delivery_mode
        queue = f"{event.namespace}_domain_events"
        route = span_ids.route_event_id(event.event_id)
        target = known_attribute("target_queue", queue) if mode.is_durable else b""
        yield span("route_event", trace, route, parent, began, ended, with_mode + target)
        if mode.is_durable:
            yield span(
                "publish_durable",
                trace,
                span_ids.publish_durable_id(event.event_id),
                route,
                self._ns(self.times.sent),
                self._ns(self.times.committed),
                common + _messaging(event, queue),
                kind=PRODUCER,
            )
        if mode.is_fast:
            yield span(
                "publish_fast",
                trace,
                span_ids.publish_fast_id(event.event_id),
                route,
                self._ns(self.times.counted),
                ended,
                common + known_attribute("subscriber_count", self.subscribers(event.event_name)),
                error=None if self.bus_accepted else _BUS_REFUSED,
            )


def _of_events(events: Sequence[TracedEvent]) -> int:
    """Count the spans of events: a dead letter was not routed."""
    return sum(
        2 if each.fault is not None else 3 + each.delivery_mode.is_durable + each.delivery_mode.is_fast
        for each in events
    )


def _of_task(task: TracedTask) -> bytes:
    return (
        attribute("task_uuid", task.task_uuid)
        + known_attribute("namespace", task.namespace)
        + attribute("correlation_id", task.correlation_id)
    )


def _messaging(event: TracedEvent, queue: str) -> bytes:
    """Say it as OpenTelemetry's semantic conventions for messaging do, too."""
    return (
        _messaging_to(queue)
        + attribute("message_size", event.size)
        + attribute("messaging.message.body.size", event.size)
        + attribute("messaging.message.id", event.event_id)
    )


@lru_cache(maxsize=1024)
def _messaging_to(queue: str) -> bytes:
    return (
        attribute("queue_name", queue)
        + attribute("messaging.system", "pgmq")
        + attribute("messaging.operation.name", "send")
        + attribute("messaging.operation.type", "send")
        + attribute("messaging.destination.name", queue)
    )


def _created_ns(task_uuid: str) -> int:
    """Return when a task was created: its UUIDv7 has the milliseconds since 1970 in front (RFC 9562)."""
    return int(task_uuid[:8] + task_uuid[9:13], 16) * 1_000_000
