"""Builds finished spans in OTLP's wire format from recorded times; nothing here reads a clock.

The SDK's way, a `ReadableSpan` that its exporter encodes, takes about 40 µs a span, and a step has seven (README,
Decisions). Here a span is its own fields followed by attributes that were encoded before, many of them once for all
spans: in protobuf, messages that are written one after the other are one message with the fields of both.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from tasker_actors.telemetry.otlp_values import any_value
from tasker_actors.telemetry.protobuf_wire import FIXED_32, FIXED_64, LENGTH_DELIMITED, VARINT, field, tag, varint
from tasker_actors.telemetry.trace_context import TraceContext

INTERNAL: Final = Span.SPAN_KIND_INTERNAL
PRODUCER: Final = Span.SPAN_KIND_PRODUCER

_REMOTE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_LOCAL: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK

_TRACE_ID: Final = tag(Span.TRACE_ID_FIELD_NUMBER, LENGTH_DELIMITED) + varint(16)
_SPAN_ID: Final = tag(Span.SPAN_ID_FIELD_NUMBER, LENGTH_DELIMITED) + varint(8)
_PARENT_SPAN_ID: Final = tag(Span.PARENT_SPAN_ID_FIELD_NUMBER, LENGTH_DELIMITED) + varint(8)
_START: Final = tag(Span.START_TIME_UNIX_NANO_FIELD_NUMBER, FIXED_64)
_END: Final = tag(Span.END_TIME_UNIX_NANO_FIELD_NUMBER, FIXED_64)
_FLAGS: Final = tag(Span.FLAGS_FIELD_NUMBER, FIXED_32)
_FIXED_64: Final = struct.Struct("<Q").pack
_FIXED_32: Final = struct.Struct("<I").pack


@dataclass(frozen=True, slots=True)
class SpanError:
    """Why something failed: an error type, which is one of few, and a message."""

    kind: str
    message: str


def attribute(key: str, value: str | float) -> bytes:
    """Encode an attribute as a part of a span; ints, bools and floats keep their type."""
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace")
        return _before_text(key, len(text)) + text
    return bytes(Span(attributes=[KeyValue(key=key, value=any_value(value))]).SerializeToString())


@lru_cache(maxsize=4096)
def known_attribute(key: str, value: str | float) -> bytes:
    """Return an attribute whose value comes again and again: a name, a mode, a small number."""
    return attribute(key, value)


def span(
    name: str,
    trace: TraceContext,
    span_id: str,
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
    """Encode a finished span of `trace`; `attributes` are encoded ones, one after the other.

    Times are nanoseconds since 1970; a span that would end before it began ends at once. An error sets the status; the
    exception is recorded too, unless another span of the same failure has it.
    """
    end_ns = max(start_ns, end_ns)
    parts = [
        _name_and_kind(name, kind),
        _TRACE_ID,
        bytes.fromhex(trace.trace_id),
        _SPAN_ID,
        bytes.fromhex(span_id),
        _START,
        _FIXED_64(start_ns),
        _END,
        _FIXED_64(end_ns),
        _FLAGS,
        _FIXED_32(trace.flags | (_REMOTE if remote_parent else _LOCAL)),
        attributes,
    ]
    if parent_span_id is not None:
        parts += (_PARENT_SPAN_ID, bytes.fromhex(parent_span_id))
    if trace.tracestate:
        parts.append(field(Span.TRACE_STATE_FIELD_NUMBER, trace.tracestate.encode()))
    if error is not None:
        parts.append(_failure(error, end_ns if records_exception else None))
    return b"".join(parts)


@lru_cache(maxsize=64)
def _name_and_kind(name: str, kind: Span.SpanKind.ValueType) -> bytes:
    return field(Span.NAME_FIELD_NUMBER, name.encode()) + tag(Span.KIND_FIELD_NUMBER, VARINT) + varint(kind)


@lru_cache(maxsize=1024)
def _before_text(key: str, size: int) -> bytes:
    """Encode all of an attribute that stands before its text of `size` bytes."""
    before = tag(AnyValue.STRING_VALUE_FIELD_NUMBER, LENGTH_DELIMITED) + varint(size)
    before = tag(KeyValue.VALUE_FIELD_NUMBER, LENGTH_DELIMITED) + varint(len(before) + size) + before
    before = field(KeyValue.KEY_FIELD_NUMBER, key.encode()) + before
    return tag(Span.ATTRIBUTES_FIELD_NUMBER, LENGTH_DELIMITED) + varint(len(before) + size) + before


def _failure(error: SpanError, recorded_at_ns: int | None) -> bytes:
    """Encode status and `error.type`, and the exception unless None."""
    failed = Span(status=Status(code=Status.STATUS_CODE_ERROR, message=error.message))
    if recorded_at_ns is not None:
        failed.events.append(_exception(error, recorded_at_ns))
    return bytes(failed.SerializeToString()) + known_attribute("error.type", error.kind)


def _exception(error: SpanError, moment_ns: int) -> Span.Event:
    """Describe an exception as OpenTelemetry's semantic conventions for exceptions on spans say."""
    return Span.Event(
        name="exception",
        time_unix_nano=moment_ns,
        attributes=[
            KeyValue(key="exception.type", value=any_value(error.kind)),
            KeyValue(key="exception.message", value=any_value(error.message)),
        ],
    )
