"""Ids of spans that follow from ids which exist anyway: nothing has to be stored or sent for them.

A task's span has the last half of the task's UUIDv7 as its id, `publish_durable` that of its event, so that whoever
knows the one can name the other: a reader of the queue names the publisher's span, whichever process commits the last
step names the task's. The spans around them differ by a constant of their own.
"""

from __future__ import annotations

from typing import Final

from tasker_actors.telemetry.trace_context import TraceContext

_HANDLER_CALL: Final = 0x1F3D_5B79_97B5_D3F1
_RESULT_SUBMISSION: Final = 0x2E4C_6A88_A6C4_E203
_PUBLISH_DOMAIN_EVENT: Final = 0x3D5B_7997_B5D3_F115
_ROUTE_EVENT: Final = 0x4C6A_88A6_C4E2_0427
_PUBLISH_FAST: Final = 0x5B79_97B5_D3F1_1639
_RECORD_METRICS: Final = 0x6A88_A6C4_E204_284B


def task_span_id(task_uuid: str) -> str:
    """Name the span of a task."""
    return _tail(task_uuid)


def task_span(task_uuid: str, given: TraceContext) -> tuple[TraceContext, str | None]:
    """Name a task's span and its parent's id.

    `given` is the context that the task was created in: its caller's, or one of its own that names the task's span
    already and so has no parent.
    """
    own = _tail(task_uuid)
    return given.with_span(own), None if given.span_id == own else given.span_id


def handler_call_id(attempt_span_id: str) -> str:
    """Name the handler's span of an attempt: what the user's own spans nest under."""
    return _other(attempt_span_id, _HANDLER_CALL)


def result_submission_id(attempt_span_id: str) -> str:
    """Name the span of the submission of an attempt's result."""
    return _other(attempt_span_id, _RESULT_SUBMISSION)


def publish_durable_id(event_id: str) -> str:
    """Name the span of an event's way into its queue: the one in the message's headers."""
    return _tail(event_id)


def publish_domain_event_id(event_id: str) -> str:
    """Name the span of an event's publication."""
    return _other(_tail(event_id), _PUBLISH_DOMAIN_EVENT)


def route_event_id(event_id: str) -> str:
    """Name the span of an event's routing."""
    return _other(_tail(event_id), _ROUTE_EVENT)


def publish_fast_id(event_id: str) -> str:
    """Name the span of an event's way to the bus: what a subscriber's spans nest under."""
    return _other(_tail(event_id), _PUBLISH_FAST)


def record_metrics_id(event_id: str) -> str:
    """Name the span of counting an event."""
    return _other(_tail(event_id), _RECORD_METRICS)


def _tail(uuid: str) -> str:
    """Return the last 64 bits of a UUID, 62 of which are random in version 7 and never all zero."""
    return uuid[19:23] + uuid[24:]


def _other(span_id: str, constant: int) -> str:
    return f"{int(span_id, 16) ^ constant:016x}"
