"""The trace that a request belongs to, so that the task or event it makes belongs to it too."""

from __future__ import annotations

import sys

from tasker_actors.telemetry.trace_context import TraceContext, current_trace


def callers_trace() -> TraceContext | None:
    """Return the span that the caller works in: OpenTelemetry's current one, else the step's that calls; None if none.

    An application that does not use OpenTelemetry has not loaded it, and it is not loaded for this.
    """
    otel = sys.modules.get("opentelemetry.trace")
    if otel is not None:
        context = otel.get_current_span().get_span_context()
        if context.is_valid:
            state = context.trace_state.to_header() or None
            return TraceContext(f"{context.trace_id:032x}", f"{context.span_id:016x}", int(context.trace_flags), state)
    return current_trace()
