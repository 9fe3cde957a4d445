"""The span of a delivery: its parent is the publisher's, with an SDK or without one."""

from __future__ import annotations

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind, StatusCode
from support.exported_spans import ExportedSpans, exported_spans

from tasker_actors.consumer.process_span import current, named_by, process_span, publisher_of
from tasker_actors.telemetry.trace_context import TraceContext

PUBLISHER = TraceContext("ab" * 16, "cd" * 8, 3, "vendor=1")
HEADERS = {"traceparent": PUBLISHER.traceparent, "tracestate": "vendor=1", "correlation_id": "c-1"}


@pytest.fixture
def spans():
    with exported_spans() as exported:
        yield exported


def start(headers):
    return process_span("shop_domain_events", 7, 2, headers, None)


def test_the_parent_is_the_publishers_span(spans: ExportedSpans):
    with current(start(HEADERS)) as _:
        pass

    span = spans.one("process shop_domain_events")
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is not None
    assert span.parent.is_remote
    assert trace.format_span_id(span.parent.span_id) == PUBLISHER.span_id
    assert trace.format_trace_id(span.context.trace_id) == PUBLISHER.trace_id
    assert span.context.trace_state.to_header() == "vendor=1"
    assert span.attributes == {
        "messaging.system": "pgmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "shop_domain_events",
        "messaging.message.conversation_id": "c-1",
        "correlation_id": "c-1",
        "msg_id": 7,
        "read_count": 2,
    }


@pytest.mark.parametrize("traceparent", [None, 7, "", "nonsense", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
def test_an_unreadable_traceparent_makes_a_root_even_inside_a_span_of_the_application(spans, traceparent):
    with trace.get_tracer("application").start_as_current_span("outer"), current(start({"traceparent": traceparent})):
        pass

    span = spans.one("process shop_domain_events")
    assert span.parent is None
    assert span.context.trace_id != spans.one("outer").context.trace_id


@pytest.mark.parametrize("tracestate", [7, "=", "k=v,k=w"])
def test_an_unreadable_tracestate_is_left_out_alone(tracestate):
    assert publisher_of({**HEADERS, "tracestate": tracestate}) == TraceContext("ab" * 16, "cd" * 8, 3)


def test_a_publisher_that_is_not_sampled_is_not_sampled_here(spans):
    with current(start({"traceparent": PUBLISHER.traceparent[:-2] + "00"})):
        pass
    assert spans.all() == ()


def test_an_error_sets_the_status_and_is_recorded_once(spans):
    with pytest.raises(KeyError), current(start(HEADERS)):
        raise KeyError("no such order")

    span = spans.one("process shop_domain_events")
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
    assert span.attributes["error.type"] == "KeyError"


def test_baggage_of_the_application_stays(spans):
    token = context.attach(baggage.set_baggage("tenant", "7"))
    try:
        with current(start(HEADERS)):
            assert baggage.get_baggage("tenant") == "7"
    finally:
        context.detach(token)


def test_a_span_is_named_for_log_lines(spans):
    span = start(HEADERS)
    named = named_by(span)
    span.end()
    assert named is not None
    assert (named.trace_id, named.tracestate) == (PUBLISHER.trace_id, "vendor=1")
    assert named.span_id == trace.format_span_id(spans.all()[0].context.span_id)


def test_without_an_sdk_the_publishers_trace_goes_on_all_the_same():
    span = start(HEADERS)
    assert not span.is_recording()
    assert named_by(span) == PUBLISHER
    assert named_by(start({})) is None
