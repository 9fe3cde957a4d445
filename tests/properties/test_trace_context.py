"""Any text may come as a header; what is taken from it is always something that may be passed on."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tasker_actors.identifiers import is_uuid
from tasker_actors.telemetry.trace_context import TraceContext, new_trace, parse_traceparent
from tasker_actors.web.request_context import add_headers, read_context

VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
hexadecimal = "0123456789abcdef"
contexts = st.builds(
    TraceContext,
    trace_id=st.text(hexadecimal, min_size=32, max_size=32).filter(lambda text: text.strip("0")),
    span_id=st.text(hexadecimal, min_size=16, max_size=16).filter(lambda text: text.strip("0")),
    flags=st.integers(0, 255),
    tracestate=st.none() | st.sampled_from(["a=1", "a=1,b=2", "tenant@vendor=x y"]),
)
near_misses = st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{30,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}.?", fullmatch=True)


@given(contexts)
def test_what_is_written_is_read_back(context):
    assert parse_traceparent(context.traceparent, context.tracestate) == context


@given(st.text() | near_misses, st.text() | st.none())
@example(f"00-{'0' * 32}-{'0' * 16}-00", None)
@example(f"00-{'1' * 32}-{'1' * 16}-00", "a=1\ud800")
def test_any_text_is_a_valid_context_or_none(traceparent, tracestate):
    context = parse_traceparent(traceparent, tracestate)
    if context is not None:
        assert VALID.fullmatch(context.traceparent)
        assert context.tracestate is None or len(context.tracestate) <= 512


@given(contexts)
def test_a_child_stays_in_the_trace(context):
    child = context.child()
    assert child.trace_id == context.trace_id
    assert VALID.fullmatch(child.traceparent)
    assert child.sampled == context.sampled


@given(contexts)
def test_opentelemetry_reads_what_we_write(context):
    carrier = {"traceparent": context.traceparent, "tracestate": context.tracestate or ""}
    extracted = TraceContextTextMapPropagator().extract(carrier)
    (span,) = extracted.values()
    theirs = span.get_span_context()
    assert (f"{theirs.trace_id:032x}", f"{theirs.span_id:016x}") == (context.trace_id, context.span_id)
    assert int(theirs.trace_flags) == context.flags


@given(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}=[!-+\--<>-~]{1,8}", fullmatch=True), max_size=60))
def test_a_tracestate_is_kept_whole_or_dropped(members):
    text = ",".join(members)
    context = parse_traceparent("00-" + "1" * 32 + "-" + "2" * 16 + "-01", text)
    keys = [member.split("=")[0] for member in members]
    good = 0 < len(members) <= 32 and len(text) <= 512 and len(set(keys)) == len(keys)
    assert context is not None
    assert context.tracestate == (text if good else None)


header_values = st.one_of(
    st.binary(max_size=60), near_misses.map(str.encode), contexts.map(lambda context: context.traceparent.encode())
)


@given(
    st.lists(
        st.tuples(st.sampled_from([b"traceparent", b"tracestate", b"x-correlation-id", b"accept"]), header_values),
        max_size=5,
    )
)
def test_any_headers_of_a_request_give_a_context_for_its_answer(headers):
    context = read_context({"type": "http", "headers": headers}, new_trace)
    answer = {"headers": []}
    add_headers(answer, context)
    written = dict(answer["headers"])
    assert VALID.fullmatch(written[b"traceparent"].decode())
    assert is_uuid(written[b"x-correlation-id"].decode())
    assert context.caller is None or context.trace.trace_id == context.caller.trace_id
