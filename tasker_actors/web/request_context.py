"""Trace and correlation of one request: read from its headers, and written into those of its answer (SPEC 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.types import Message, Scope

from tasker_actors.identifiers import is_uuid, new_uuid7
from tasker_actors.telemetry.trace_context import TraceContext, parse_traceparent

_STATE_KEY = "tasker_context"


@dataclass(slots=True)
class RequestContext:
    """What one request works under; an endpoint that creates a task puts the task's own in place.

    `caller` and `given_correlation_id` are the caller's, None if it sent none that can be used. `trace` and
    `correlation_id` go into the answer.
    """

    trace: TraceContext
    caller: TraceContext | None
    given_correlation_id: str | None
    correlation_id: str


def read_context(scope: Scope, new_trace: Callable[[], TraceContext]) -> RequestContext:
    """Read `traceparent`, `tracestate` and `x-correlation-id`, and keep the context in the request's state.

    What cannot be used is left out of account, as W3C asks for; a traceparent given twice cannot be used.
    """
    given: dict[bytes, list[str]] = {b"traceparent": [], b"tracestate": [], b"x-correlation-id": []}
    for name, value in scope["headers"]:
        if name in given:
            given[name].append(value.decode("latin-1"))
    parents = given[b"traceparent"]
    caller = None
    if len(parents) == 1:
        caller = parse_traceparent(parents[0].strip(), ",".join(given[b"tracestate"]) or None)
    ids = given[b"x-correlation-id"]
    correlation_id = ids[0].lower() if len(ids) == 1 and is_uuid(ids[0]) else None
    context = RequestContext(
        trace=new_trace() if caller is None else caller.child(),
        caller=caller,
        given_correlation_id=correlation_id,
        correlation_id=correlation_id or new_uuid7(),
    )
    scope.setdefault("state", {})[_STATE_KEY] = context
    return context


def request_context(request: Request) -> RequestContext:
    """Return the context that the guard has read."""
    context: RequestContext = request.scope["state"][_STATE_KEY]
    return context


def add_headers(message: Message, context: RequestContext) -> None:
    """Write trace and correlation into the first message of an answer."""
    message["headers"] = [
        *message.get("headers", ()),
        (b"traceparent", context.trace.traceparent.encode()),
        (b"x-correlation-id", context.correlation_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]
