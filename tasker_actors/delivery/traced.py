"""What spans are made of: the few facts of an attempt and its events that outlive it, and no payload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.telemetry.spans import SpanError
from tasker_actors.telemetry.trace_context import TraceContext
from tasker_actors.workflow.outcome import StepFailure

if TYPE_CHECKING:
    from tasker_actors.events.outgoing import Derived
    from tasker_actors.messages import PendingPublication
    from tasker_actors.steps.finished import FinishedStep
    from tasker_actors.steps.lease import LeasedStep, TaskFacts


@dataclass(frozen=True, slots=True)
class TracedEvent:
    """One event; `fault` says why it became a dead letter. `size` is that of its message, in bytes."""

    event_id: str
    event_name: str
    namespace: str
    delivery_mode: DeliveryMode
    size: int
    fault: SpanError | None = None


@dataclass(frozen=True, slots=True)
class TracedTask:
    """The task that spans belong to; `trace` names its own span."""

    task_uuid: str
    name: str
    namespace: str
    correlation_id: str
    trace: TraceContext
    parent_span_id: str | None


@dataclass(frozen=True, slots=True)
class TracedAttempt:
    """One attempt that came to an end; `trace` names its span. Times are monotonic seconds.

    `handled_s` is the time in the handler, None where nobody knows: the worker was lost. `slot` is the worker's.
    `fault` is the attempt's own, `not_stored` says why the result of one that ended was not stored.
    """

    task: TracedTask
    trace: TraceContext
    step_uuid: str
    step_name: str
    handler_name: str
    attempt: int
    slot: int
    state: str
    began_at: float
    finished_at: float
    handled_s: float | None
    fault: SpanError | None
    events: tuple[TracedEvent, ...]
    not_stored: SpanError | None = None


@dataclass(frozen=True, slots=True)
class TracedPublication:
    """An event published from outside a step; `trace` is its caller's, or names the publication itself."""

    trace: TraceContext
    correlation_id: str
    began_at: float
    events: tuple[TracedEvent, ...]


def traced_task(namespace: str, name: str, facts: TaskFacts) -> TracedTask:
    """Keep what spans say of a task."""
    return TracedTask(facts.task_uuid, name, namespace, facts.correlation_id, facts.trace, facts.parent_span_id)


def traced_attempt(finished: FinishedStep, slot: int) -> TracedAttempt:
    """Keep what spans say of an attempt that was committed."""
    step: LeasedStep = finished.step
    outcome = finished.outcome
    return TracedAttempt(
        task=traced_task(step.plan.namespace, step.plan.task_type, step.task),
        trace=step.trace,
        step_uuid=step.step_uuid,
        step_name=step.name,
        handler_name=step.plan.handler_name,
        attempt=step.attempt,
        slot=slot,
        state=finished.state,
        began_at=finished.began_at,
        finished_at=finished.finished_at,
        handled_s=finished.duration_ms / 1000,
        fault=SpanError(outcome.error_type, outcome.message) if isinstance(outcome, StepFailure) else None,
        events=tuple(traced_events(finished.derived)),
    )


def traced_publication(publication: PendingPublication) -> TracedPublication:
    """Keep what spans say of an event from outside a step."""
    return TracedPublication(
        trace=publication.trace,
        correlation_id=publication.correlation_id,
        began_at=publication.finished_at,
        events=tuple(traced_events(publication.derived)),
    )


def traced_events(derived: Derived) -> Iterable[TracedEvent]:
    """Keep what spans say of events and of those that became dead letters."""
    for event in derived.events:
        yield TracedEvent(event.event_id, event.event_name, event.namespace, event.delivery_mode, len(event.message))
    for refused in derived.refused:
        yield TracedEvent(
            refused.event_id,
            refused.event_name,
            refused.namespace,
            refused.delivery_mode,
            len(refused.dead_letter),
            SpanError(refused.code, refused.reason),
        )
