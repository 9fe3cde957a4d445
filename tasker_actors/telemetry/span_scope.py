"""Lets users' own OpenTelemetry spans nest under ours."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from tasker_actors.telemetry.trace_context import TraceContext


def span_context(trace: TraceContext, *, is_remote: bool) -> SpanContext:
    """Name a span in OpenTelemetry's terms."""
    return SpanContext(
        int(trace.trace_id, 16),
        int(trace.span_id, 16),
        is_remote=is_remote,
        trace_flags=TraceFlags(trace.flags),
        trace_state=TraceState.from_header([trace.tracestate]) if trace.tracestate else None,
    )


class OpenTelemetrySpan:
    """Makes a span OpenTelemetry's current one in a block; it is exported elsewhere.

    For one thread or task; attached and detached in it. The context is a new one, so nothing of an earlier block that
    was interrupted can be left in it. Tracing that is not sampled is passed on too: spans below are not recorded then.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, name: Callable[[], TraceContext]) -> None:
        self._span = _NamedSpan(name)

    def __enter__(self) -> None:
        self._token = context.attach(set_span_in_context(self._span, context.Context()))

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)


class _NamedSpan(NonRecordingSpan):
    """A span that is named when somebody asks: most handlers make no spans, and all would pay for it."""

    def __init__(self, name: Callable[[], TraceContext]) -> None:
        self._name = name

    def get_span_context(self) -> SpanContext:
        return span_context(self._name(), is_remote=False)

    def __repr__(self) -> str:
        return f"_NamedSpan({self._name().traceparent})"
