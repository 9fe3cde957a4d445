"""The W3C trace context as a value, and which one the running code works under.

Rules: W3C Trace Context (`traceparent` and `tracestate` headers), SPEC 4.2. Standard library only, so that every
message, row and header can carry a trace whether OpenTelemetry is configured or not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from tasker_actors.values import value

SAMPLED = 0x01
RANDOM = 0x02
MAX_TRACESTATE_CHARACTERS = 512

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_ZERO_TRACE_ID = "0" * 32
_ZERO_SPAN_ID = "0" * 16

_MAX_TRACESTATE_MEMBERS = 32
_TRACESTATE_MEMBER = re.compile(r"([a-z0-9][a-z0-9_\-*/@]{0,255})=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[!-+\--<>-~])")


@value()
class TraceContext:
    """Names one span of one trace: 32 and 16 lower-case hex digits, flags of 0 to 255.

    The flags are kept as they came, whatever their bits; `child` keeps the two that are defined.
    """

    trace_id: str
    span_id: str
    flags: int
    tracestate: str | None = None

    @property
    def sampled(self) -> bool:
        """Whether the trace's owner records it."""
        return self.flags & SAMPLED != 0

    @property
    def traceparent(self) -> str:
        """The header's value, always in version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def child(self) -> TraceContext:
        """Name a new span below this one: same trace and tracestate, new random span id."""
        return self.with_span(new_span_id())

    def with_span(self, span_id: str) -> TraceContext:
        """Name another span of the same trace."""
        return TraceContext(self.trace_id, span_id, self.flags & (SAMPLED | RANDOM), self.tracestate)

    def traceparent_of(self, span_id: str) -> str:
        """The header's value for another span of the same trace."""
        return f"00-{self.trace_id}-{span_id}-{self.flags & (SAMPLED | RANDOM):02x}"


def parse_traceparent(text: str, tracestate: str | None = None) -> TraceContext | None:
    """Read a `traceparent`, and the `tracestate` beside it; None if the first cannot be used.

    A version after 00 is read as far as 00 is known, `ff` is no version, ids of zeros name nothing. A tracestate that
    is malformed, or longer than 512 characters, is dropped alone: the trace goes on without it.
    """
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace_id == _ZERO_TRACE_ID or span_id == _ZERO_SPAN_ID:
        return None
    return TraceContext(trace_id, span_id, int(flags, 16), None if tracestate is None else _usable(tracestate))


def new_trace(*, sampled: bool = False) -> TraceContext:
    """Start a trace: random ids, flag 01 if it is sampled and 00 if not."""
    digits = os.urandom(24).hex()
    return TraceContext(digits[:32], digits[32:], SAMPLED if sampled else 0)


def new_span_id() -> str:
    """Make 16 random hex digits; from the kernel, so a forked or spawned child never repeats its parent's."""
    return os.urandom(8).hex()


def _usable(tracestate: str) -> str | None:
    """Return the tracestate if a receiver may pass it on: at most 32 well-formed members, no key twice."""
    if not tracestate or len(tracestate) > MAX_TRACESTATE_CHARACTERS:
        return None
    keys = set()
    for member in tracestate.split(","):
        stripped = member.strip(" \t")
        if not stripped:
            continue  # the recommendation allows empty members
        match = _TRACESTATE_MEMBER.fullmatch(stripped)
        if match is None or match[1] in keys:
            return None
        keys.add(match[1])
    return tracestate if 0 < len(keys) <= _MAX_TRACESTATE_MEMBERS else None


SpanScope = Callable[[Callable[[], TraceContext]], AbstractContextManager[None]]
"""Makes a span the current one of OpenTelemetry in a block; it is named when somebody asks.

There is none where tracing is off.
"""


class Correlated(Protocol):
    """What the running code works under: an envelope, or anything else with these two."""

    @property
    def trace(self) -> TraceContext | None:
        """The span that new spans and messages belong to."""

    @property
    def correlation_id(self) -> str | None:
        """The task's correlation id."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """A trace and a correlation id without a message, for code that no actor runs."""

    trace: TraceContext | None
    correlation_id: str | None


# Set and reset inside one receive by the actor's host, and replaced by each delivery in a subscriber's own thread; a
# thread or task that did not inherit it sees None.
CURRENT: ContextVar[Correlated | None] = ContextVar("tasker_actors_correlation", default=None)


def current_trace() -> TraceContext | None:
    """Return the trace context of what this thread or task is working on."""
    current = CURRENT.get()
    return None if current is None else current.trace


def current_correlation_id() -> str | None:
    """Return the correlation id of what this thread or task is working on."""
    current = CURRENT.get()
    return None if current is None else current.correlation_id


class WorkingOn:
    """Runs a block under the trace and the correlation id that something has: an event's lines name its own task.

    A class, because a generator would cost five times as much, and every step goes through two of these.
    """

    __slots__ = ("_source", "_token")

    def __init__(self, source: Correlated) -> None:
        self._source = source

    def __enter__(self) -> None:
        self._token = CURRENT.set(self._source)

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._token)


@contextmanager
def correlated(trace: TraceContext | None, correlation_id: str | None) -> Iterator[None]:
    """Run a block under a trace and a correlation id: its log lines and its messages to actors carry them."""
    with WorkingOn(Correlation(trace, correlation_id)):
        yield
