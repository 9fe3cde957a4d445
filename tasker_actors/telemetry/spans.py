"""Builds finished spans in OTLP's wire format from recorded times; nothing here reads a clock.

The SDK's way, a `ReadableSpan` that its exporter encodes, takes about 40 µs a span, and a step has seven (README,
Decisions). Here a span is its own fields followed by attributes that were encoded before, many of them once for all
spans: in protobuf, messages that are written one after the other are one message with the fields of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from tasker_actors.telemetry.otlp_values import any_value
from tasker_actors.telemetry.trace_context import TraceContext

INTERNAL: Final = Span.SPAN_KIND_INTERNAL
PRODUCER: Final = Span.SPAN_KIND_PRODUCER

_REMOTE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_LOCAL: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK


@dataclass(frozen=True, slots=True)
class SpanError:
    """Why something failed: an error type, which is one of few, and a message."""

    kind: str
    message: str


def attribute(key: str, value: str | float) -> bytes:
    """Encode an attribute as a part of a span; ints, bools and floats keep their type."""
    return bytes(Span(attributes=[_key_value(key, value)]).SerializeToString())


@lru_cache(maxsize=4096)
def known_attribute(key: str, value: str | float) -> bytes:
    """Return an attribute whose value comes again and again: a name, a mode, a small number."""
    return attribute(key, value)


def span(
    name: str,
    trace: TraceContext,
    parent_span_id: str | None,
    start_ns: int,
    end_ns: int,
    attributes: bytes,
    *,
    kind: Span.SpanKind.ValueType = INTERNAL,
    remote_parent: bool = False,
    error: SpanError | None = None,
    records_exception: bool = True,
) -> bytes:
    """Encode the finished span that `trace` names; `attributes` are encoded ones, one after the other.

    Times are nanoseconds since 1970; a span that would end before it began ends at once. An error sets the status; the
    exception is recorded too, unless another span of the same failure has it.
    """
    end_ns = max(start_ns, end_ns)
    own = Span(
        name=name,
        trace_id=bytes.fromhex(trace.trace_id),
        span_id=bytes.fromhex(trace.span_id),
        trace_state=trace.tracestate or "",
        parent_span_id=bytes.fromhex(parent_span_id or ""),
        kind=kind,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=end_ns,
        flags=trace.flags | (_REMOTE if remote_parent else _LOCAL),
    )
    if error is not None:
        own.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=error.message))
        own.attributes.append(_key_value("error.type", error.kind))
        if records_exception:
            own.events.append(_exception(error, end_ns))
    return bytes(own.SerializeToString()) + attributes


def _key_value(key: str, value: str | float) -> KeyValue:
    return KeyValue(key=key, value=any_value(value))


def _exception(error: SpanError, moment_ns: int) -> Span.Event:
    """Describe an exception as OpenTelemetry's semantic conventions for exceptions on spans say."""
    return Span.Event(
        name="exception",
        time_unix_nano=moment_ns,
        attributes=[_key_value("exception.type", error.kind), _key_value("exception.message", error.message)],
    )
