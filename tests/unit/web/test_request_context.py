"""Trace and correlation of a request."""

from __future__ import annotations

import pytest

from tasker_actors.identifiers import is_uuid
from tasker_actors.telemetry.trace_context import TraceContext, new_trace, parse_traceparent
from tasker_actors.web.request_context import RequestContext, add_headers, read_context

TRACEPARENT = b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"
ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
FRESH = new_trace(sampled=True)


def read(*headers: tuple[bytes, bytes]) -> RequestContext:
    return read_context({"type": "http", "headers": list(headers)}, lambda: FRESH)


def test_a_caller_s_trace_goes_on_in_a_span_of_our_own() -> None:
    context = read((b"traceparent", TRACEPARENT), (b"tracestate", b"a=1"), (b"tracestate", b"b=2"))
    assert context.caller == TraceContext("ab" * 16, "cd" * 8, 1, "a=1,b=2")
    assert (context.trace.trace_id, context.trace.flags, context.trace.tracestate) == ("ab" * 16, 1, "a=1,b=2")
    assert context.trace.span_id != "cd" * 8


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"traceparent", b"")],
        [(b"traceparent", b"\xff")],
        [(b"traceparent", TRACEPARENT), (b"traceparent", TRACEPARENT)],
        [(b"tracestate", b"a=1")],
    ],
)
def test_without_a_usable_trace_a_new_one_begins(headers) -> None:
    context = read(*headers)
    assert context.caller is None
    assert context.trace is FRESH


def test_a_correlation_id_is_taken_when_it_is_a_uuid() -> None:
    context = read((b"x-correlation-id", ONE.upper().encode()))
    assert context.given_correlation_id == context.correlation_id == ONE


@pytest.mark.parametrize("headers", [[b"x"], [b"\xff"], [ONE.encode(), ONE.encode()], [b"{" + ONE.encode() + b"}"]])
def test_another_correlation_id_is_replaced(headers) -> None:
    context = read(*((b"x-correlation-id", value) for value in headers))
    assert context.given_correlation_id is None
    assert is_uuid(context.correlation_id)


def test_the_answer_carries_both_beside_its_own_headers() -> None:
    context = read((b"x-correlation-id", ONE.encode()))
    message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
    add_headers(message, context)
    headers = dict(message["headers"])
    assert headers[b"content-type"] == b"text/plain"
    assert headers[b"x-correlation-id"] == ONE.encode()
    assert parse_traceparent(headers[b"traceparent"].decode()) == FRESH
