"""Where each event goes: pure rules between the derived events and the commit (SPEC 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tasker_actors.events.json_size import stored_bytes
from tasker_actors.messages import CommitItem
from tasker_actors.telemetry.span_ids import publish_durable_id
from tasker_actors.workflow.outcome import StepFailure
from tasker_actors.workflow.states import StepState

if TYPE_CHECKING:
    from tasker_actors.events.derive import Derived, OutgoingEvent, RefusedEvent
    from tasker_actors.steps.finished import FinishedStep
    from tasker_actors.steps.lease import LeasedStep, StepPlan
    from tasker_actors.telemetry.trace_context import TraceContext

LabelSet = tuple[str, str, str, str]
"""namespace, event_name, delivery_mode, publisher: what one event is counted under."""


def label_set(event: OutgoingEvent | RefusedEvent) -> LabelSet:
    """Return what an event is counted under."""
    return (event.namespace, event.event_name, event.delivery_mode.value, event.publisher_name)


def queue_headers(event: OutgoingEvent, trace: TraceContext, correlation_id: str) -> dict[str, str]:
    """Make the headers of a durable message (SPEC 2.4): a reader's spans nest under this event's `publish_durable`."""
    headers = {
        "traceparent": trace.traceparent_of(publish_durable_id(event.event_id)),
        "correlation_id": correlation_id,
        "event_id": event.event_id,
        "event_name": event.event_name,
        "content_type": "application/json",
    }
    if trace.tracestate:
        headers["tracestate"] = trace.tracestate
    return headers


def event_documents(derived: Derived, trace: TraceContext, correlation_id: str) -> dict[str, Any]:
    """Make the part of a commit document that holds durable events and dead letters; labels are still label sets."""
    document: dict[str, Any] = {}
    events = [
        {
            "message": orjson.Fragment(event.message),
            "headers": queue_headers(event, trace, correlation_id),
            "label": label_set(event),
        }
        for event in derived.events
        if event.delivery_mode.is_durable
    ]
    if events:
        document["events"] = events
    if derived.refused:
        document["dead_letters"] = dead_letter_documents(derived.refused)
    return document


def dead_letter_documents(refused: Iterable[RefusedEvent]) -> list[dict[str, Any]]:
    """Make the entries of a commit document that become dead letters."""
    return [{"message": orjson.Fragment(one.dead_letter), "label": label_set(one)} for one in refused]


def commit_item(finished: FinishedStep) -> CommitItem:
    """Make a step's entry of the commit batch."""
    derived = finished.derived
    size = len(finished.result or b"") + sum(map(len, finished.follows.values()))
    size += sum(len(event.message) for event in derived.events)
    size += sum(len(refused.dead_letter) for refused in derived.refused)
    return CommitItem(
        document=result_document(finished),
        size=size,
        token=finished.step.token,
        task_uuid=finished.step.task.task_uuid,
        finished=finished,
    )


def result_document(finished: FinishedStep) -> dict[str, Any]:
    """Make the commit document of one finished step."""
    step = finished.step
    document = event_documents(finished.derived, step.trace, step.task.correlation_id)
    document.update(
        token=step.token,
        task=step.task.task_uuid,
        position=step.position,
        attempt=step.attempt,
        outcome=finished.state,
        duration_ms=round(finished.duration_ms, 3),
    )
    if finished.result is not None:
        document["result"] = orjson.Fragment(finished.result)
        document["bytes"] = stored_bytes(finished.result)
    elif isinstance(finished.outcome, StepFailure):
        document["error"] = error_document(finished)
        document["delay_ms"] = finished.delay_ms
    document.update(dynamic_keys(step.plan, finished.state, finished.follows, is_instance=bool(step.inputs)))
    return document


def dynamic_keys(plan: StepPlan, outcome: str, follows: Mapping[str, bytes], *, is_instance: bool) -> dict[str, Any]:
    """Make the part of a commit document that is about other steps; empty for most.

    A failure for good says how it is to be taken, because what it blocks depends on the steps that exist.
    """
    if follows:
        return {"dynamic": {key: orjson.Fragment(value) for key, value in follows.items()}}
    if outcome == StepState.ERROR and plan.dynamic.has_branches:
        return {"dynamic": {"on_failure": plan.dynamic.on_failure}}
    return {"dynamic": {}} if is_instance else {}


def error_document(finished: FinishedStep) -> dict[str, Any]:
    """Make the stored description of a failure."""
    failure: Any = finished.outcome
    return {
        "error_type": failure.error_type,
        "error_code": failure.error_code,
        "message": failure.message,
        "retryable": failure.retryable,
    }


def return_document(step: LeasedStep) -> dict[str, Any]:
    """Make the commit document that gives a step back, uncounted."""
    return {
        "token": step.token,
        "task": step.task.task_uuid,
        "position": step.position,
        "attempt": step.attempt,
        "outcome": "returned",
    }
