"""Which trace a request of an application belongs to."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from tasker_actors.client.tracing import callers_trace
from tasker_actors.telemetry.trace_context import TraceContext, correlated

STEP = TraceContext("ab" * 16, "cd" * 8, 1)


def test_without_anybody_there_is_no_trace():
    assert callers_trace() is None


def test_a_step_that_calls_is_the_parent():
    with correlated(STEP, None):
        assert callers_trace() == STEP


def test_a_span_of_opentelemetry_is_nearer():
    state = TraceState([("vendor", "x")])
    span = NonRecordingSpan(SpanContext(0x12, 0x34, is_remote=False, trace_flags=TraceFlags(1), trace_state=state))
    with correlated(STEP, None), trace.use_span(span):
        assert callers_trace() == TraceContext(f"{0x12:032x}", f"{0x34:016x}", 1, "vendor=x")


def test_opentelemetry_is_not_loaded_for_an_application_without_it():
    code = (
        "import sys; from tasker_actors.client.tracing import callers_trace; "
        "print(callers_trace(), 'opentelemetry' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "None False\n"
