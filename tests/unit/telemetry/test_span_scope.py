"""A user's own OpenTelemetry spans nest under ours, whatever happens in the block."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from tasker_actors.telemetry.span_scope import OpenTelemetrySpan
from tasker_actors.telemetry.trace_context import TraceContext

OURS = TraceContext("ab" * 16, "cd" * 8, 1, "vendor=1")


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported: InMemorySpanExporter) -> trace.Tracer:
    provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider.get_tracer("tests")


def test_a_span_in_the_block_is_below_ours(tracer: trace.Tracer, exported: InMemorySpanExporter):
    with OpenTelemetrySpan(lambda: OURS), tracer.start_as_current_span("mine"):
        pass
    (span,) = exported.get_finished_spans()
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (OURS.trace_id, OURS.span_id)
    assert span.parent.trace_state.to_header() == "vendor=1"


def test_a_trace_that_is_not_sampled_records_nothing_below(tracer: trace.Tracer, exported: InMemorySpanExporter):
    with OpenTelemetrySpan(lambda: TraceContext("ab" * 16, "cd" * 8, 0)), tracer.start_as_current_span("mine"):
        pass
    assert exported.get_finished_spans() == ()


def test_after_the_block_nothing_of_it_is_left():
    def failing() -> None:
        with OpenTelemetrySpan(lambda: OURS):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the one that was just raised
        failing()
    assert not trace.get_current_span().get_span_context().is_valid


def test_each_task_of_a_loop_has_its_own(tracer: trace.Tracer, exported: InMemorySpanExporter):
    others = [TraceContext("ab" * 16, f"{number:016x}", 1) for number in range(1, 4)]

    async def handler(ours: TraceContext) -> None:
        with OpenTelemetrySpan(lambda: ours):
            await asyncio.sleep(0)
            with tracer.start_as_current_span(ours.span_id):
                await asyncio.sleep(0)

    async def together() -> None:
        await asyncio.gather(*map(handler, others))

    asyncio.run(together())
    for span in exported.get_finished_spans():
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == span.name
