"""Reading and writing the W3C headers, and which context the running code works under."""

from __future__ import annotations

import contextlib
import threading

import pytest

from tasker_actors.telemetry.trace_context import (
    TraceContext,
    correlated,
    current_correlation_id,
    current_trace,
    new_trace,
    parse_traceparent,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"


@pytest.mark.parametrize("flags", ["00", "01", "02", "03", "08", "ff"])
def test_reads_any_flags_and_writes_them_back(flags):
    text = f"00-{TRACE_ID}-{SPAN_ID}-{flags}"
    context = parse_traceparent(text)
    assert context == TraceContext(TRACE_ID, SPAN_ID, int(flags, 16), None)
    assert context.traceparent == text
    assert context.sampled == (flags in {"01", "03", "ff"})


@pytest.mark.parametrize("more", ["", "-", "-what-the-future-will-be"])
def test_reads_a_future_version_as_far_as_it_is_known(more):
    context = parse_traceparent(f"cc-{TRACE_ID}-{SPAN_ID}-01{more}")
    assert context is not None
    assert context.traceparent == f"00-{TRACE_ID}-{SPAN_ID}-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}0-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-0G",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-01\n",
        f" 00-{TRACE_ID}-{SPAN_ID}-01",
        f"cc-{TRACE_ID}-{SPAN_ID}-01more",
        f"00_{TRACE_ID}_{SPAN_ID}_01",
        f"00-{TRACE_ID}-{SPAN_ID}-\u0660\u0661",
    ],
)
def test_what_is_no_traceparent_is_none(text):
    assert parse_traceparent(text, "vendor=1") is None


@pytest.mark.parametrize(
    "tracestate",
    [
        "vendor=value",
        "a=1,b=2",
        "tenant@system=t61rcWkgMzE",
        "0digit=first",
        "a=1 , b=2\t,,c=3",
        'a= spaces inside are kept ~!"#',
        "a=" + "x" * 256,
        ",".join(f"k{number}=1" for number in range(32)),
    ],
)
def test_keeps_a_good_tracestate_as_it_came(tracestate):
    context = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-01", tracestate)
    assert context is not None
    assert context.tracestate == tracestate
    assert context.child().tracestate == tracestate


@pytest.mark.parametrize(
    "tracestate",
    [
        "",
        " , ",
        "novalue",
        "=value",
        "a=",
        "a=1,a=2",
        "A=upper",
        "a=b=c",
        "a=trailing space kept? no\x7f",
        "a=ünicode",
        "a=line\nbreak",
        "_under=1",
        "a=" + "x" * 257,
        "k" * 257 + "=1",
        ",".join(f"k{number}=1" for number in range(33)),
        ",".join(f"k{number}={'x' * 100}" for number in range(6)),
    ],
)
def test_drops_a_bad_tracestate_alone(tracestate):
    context = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-01", tracestate)
    assert context == TraceContext(TRACE_ID, SPAN_ID, 1, None)


def test_a_child_is_a_new_span_of_the_same_trace_with_the_defined_flags():
    parent = TraceContext(TRACE_ID, SPAN_ID, 0xFF, "vendor=1")
    child = parent.child()
    assert (child.trace_id, child.flags, child.tracestate) == (TRACE_ID, 0x03, "vendor=1")
    assert child.span_id != parent.span_id
    assert parse_traceparent(child.traceparent, child.tracestate) == child


@pytest.mark.parametrize(("sampled", "flags"), [(False, "00"), (True, "01")])
def test_a_new_trace_says_whether_it_is_sampled(sampled, flags):
    context = new_trace(sampled=sampled)
    assert context.traceparent.endswith(f"-{flags}")
    assert parse_traceparent(context.traceparent) == context


def test_new_ids_do_not_repeat():
    traces = [new_trace() for _ in range(2000)]
    assert len({trace.trace_id for trace in traces}) == 2000
    assert len({trace.child().span_id for trace in traces} | {trace.span_id for trace in traces}) == 4000


def test_correlated_lasts_as_long_as_its_block():
    outer, inner = new_trace(), new_trace()
    assert (current_trace(), current_correlation_id()) == (None, None)
    with correlated(outer, "outer"):
        with contextlib.suppress(ZeroDivisionError), correlated(inner, "inner"):
            assert (current_trace(), current_correlation_id()) == (inner, "inner")
            _ = 1 / 0
        assert (current_trace(), current_correlation_id()) == (outer, "outer")
    assert (current_trace(), current_correlation_id()) == (None, None)


def test_another_thread_has_a_context_of_its_own():
    seen = []
    with correlated(new_trace(), "mine"):
        thread = threading.Thread(target=lambda: seen.append(current_correlation_id()))
        thread.start()
        thread.join(5)
    assert seen == [None]
