"""The span of one delivery, as OpenTelemetry's semantic conventions for messaging describe it.

Made through OpenTelemetry's global tracer: an application without its SDK pays nothing, and what its handlers send on
still belongs to the publisher's trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace as otel
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanKind

from tasker_actors.consumer.received import correlation_id
from tasker_actors.events.event import DomainEvent
from tasker_actors.telemetry.span_scope import span_context
from tasker_actors.telemetry.trace_context import TraceContext, parse_traceparent

_TRACER = "tasker_actors.consumer"


def publisher_of(headers: Mapping[str, Any]) -> TraceContext | None:
    """Return the publisher's span that headers name; None where they name none that can be read."""
    traceparent, tracestate = headers.get("traceparent"), headers.get("tracestate")
    if not isinstance(traceparent, str):
        return None
    return parse_traceparent(traceparent, tracestate if isinstance(tracestate, str) else None)


def process_span(
    queue: str, msg_id: int, read_count: int, headers: Mapping[str, Any], event: DomainEvent | None
) -> Span:
    """Start the span of handing a message to its handler, below the publisher's span, else as a root.

    `messaging.message.id` is the event's id, which the publisher's span has too. `event` is None for what is no event.
    """
    attributes: dict[str, str | int] = {
        "messaging.system": "pgmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
        "msg_id": msg_id,
        "read_count": read_count,
    }
    correlation = correlation_id(headers, event)
    if correlation is not None:
        attributes |= {"correlation_id": correlation, "messaging.message.conversation_id": correlation}
    if event is not None:
        attributes |= {"messaging.message.id": event.event_id, "event_name": event.event_name}
        attributes |= {
            key: value
            for key in ("namespace", "task_uuid", "step_uuid", "step_name")
            if isinstance(value := event.metadata.get(key), str)
        }
    publisher = publisher_of(headers)
    above = INVALID_SPAN if publisher is None else NonRecordingSpan(span_context(publisher, is_remote=True))
    parent = otel.set_span_in_context(above)
    tracer = otel.get_tracer(_TRACER)
    return tracer.start_span(f"process {queue}", parent, kind=SpanKind.CONSUMER, attributes=attributes)


@contextmanager
def current(span: Span) -> Iterator[None]:
    """Make a span the current one of a block, and end it there; what the block raises is recorded once, and goes on."""
    with otel.use_span(span, end_on_exit=True):
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise


def named_by(span: Span) -> TraceContext | None:
    """Return what names a span in log lines and messages; None where there is no trace."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    state = context.trace_state.to_header() or None
    trace_id, span_id = otel.format_trace_id(context.trace_id), otel.format_span_id(context.span_id)
    return TraceContext(trace_id, span_id, context.trace_flags, state)
