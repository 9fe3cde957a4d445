"""What travels over a link: five kinds of packets, each a JSON array that begins with its kind.

| kind | fields after it |
| --- | --- |
| TELL | to, sender or null, message id, traceparent or null, tracestate or null, correlation id or null, type, body |
| ASK | the same, then the asking process's name and the time limit in ms |
| ANSWER | asking process, message id, type or null, body |
| FAILURE | asking process, message id, actor, error type, error text |
| REFUSAL | asking process, message id, reason |

An envelope's packet is read in two steps, so that a relaying process passes it on without touching the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

from tasker_actors.actors.envelope import Envelope
from tasker_actors.errors import ProtocolError
from tasker_actors.telemetry.trace_context import TraceContext, parse_traceparent

_MAX_ERROR_CHARACTERS = 4_096


class Kind(IntEnum):
    """The first element of a packet."""

    TELL = 0
    ASK = 1
    ANSWER = 2
    FAILURE = 3
    REFUSAL = 4


# As plain numbers: comparing with a member of an enumeration takes several times as long.
_TELL = int(Kind.TELL)
_ASK = int(Kind.ASK)
_TELL_LENGTH = 9
_ASK_LENGTH = 11
_RESPONSE_LENGTHS: dict[int, int] = {Kind.ANSWER: 5, Kind.FAILURE: 6, Kind.REFUSAL: 4}


@dataclass(slots=True)
class Delivery:
    """A tell or an ask that arrived; its fields are the packet's. `origin` is the asking process, None for a tell."""

    kind: int
    to: str
    sender: str | None
    message_id: int
    traceparent: str | None
    tracestate: str | None
    correlation_id: str | None
    type_name: str
    body: Any
    origin: str | None = None
    timeout_ms: int = 0

    @property
    def trace(self) -> TraceContext | None:
        """The sender's trace context, None if it had none; ProtocolError if it cannot be read."""
        if self.traceparent is None:
            return None
        trace = parse_traceparent(self.traceparent, self.tracestate)
        if trace is None:
            message = f"packet to {self.to} has the traceparent {self.traceparent!r:.100}"
            raise ProtocolError(message)
        return trace


@dataclass(slots=True)
class Response:
    """An answer, a failure or a refusal that arrived; `arguments` are the fields after the message id."""

    kind: Kind
    origin: str
    message_id: int
    arguments: list[Any]


def write_tell(to: str, envelope: Envelope, type_name: str, body: orjson.Fragment) -> bytes:
    """Write an envelope for an actor of another process."""
    return _write((0, to, *_beside(envelope), type_name, body))


def write_ask(
    to: str, envelope: Envelope, type_name: str, body: orjson.Fragment, origin: str, timeout_ms: int
) -> bytes:
    """Write an envelope whose sender, a thread of process `origin`, waits for the answer."""
    return _write((1, to, *_beside(envelope), type_name, body, origin, timeout_ms))


def write_answer(origin: str, message_id: int, type_name: str | None, body: orjson.Fragment) -> bytes:
    """Write the answer to an ask."""
    return _write((2, origin, message_id, type_name, body))


def write_failure(origin: str, message_id: int, actor: str, error_type: str, text: str) -> bytes:
    """Write that the asked actor raised; only names and a shortened text travel."""
    return _write((3, origin, message_id, actor, error_type, _shortened(text)))


def write_refusal(origin: str, message_id: int, reason: str) -> bytes:
    """Write that nobody handles an ask."""
    return _write((4, origin, message_id, _shortened(reason)))


def rewrite(packet: list[Any]) -> bytes:
    """Write a packet that was read, for the next process on its way."""
    return _write(packet)


def read_packet(packet: Any) -> Delivery | Response:
    """Check one packet of a frame, all but the message inside; ProtocolError if it is none of the five kinds.

    Runs once for every message between processes, hence the plain comparisons.
    """
    if type(packet) is list and packet:
        kind, length = packet[0], len(packet)
        if type(kind) is not int:
            raise _no_packet(packet)
        if (kind == _TELL and length == _TELL_LENGTH) or (kind == _ASK and length == _ASK_LENGTH):
            return _checked_delivery(packet, Delivery(*packet))
        if length == _RESPONSE_LENGTHS.get(kind):
            return _checked_response(packet, Response(Kind(kind), packet[1], packet[2], packet[3:]))
    raise _no_packet(packet)


def _checked_delivery(packet: list[Any], delivery: Delivery) -> Delivery:
    sender, traceparent = delivery.sender, delivery.traceparent
    tracestate, correlation_id, origin = delivery.tracestate, delivery.correlation_id, delivery.origin
    if (
        type(delivery.to) is str
        and type(delivery.message_id) is int
        and type(delivery.type_name) is str
        and (sender is None or type(sender) is str)
        and (traceparent is None or type(traceparent) is str)
        and (tracestate is None or type(tracestate) is str)
        and (correlation_id is None or type(correlation_id) is str)
        and (delivery.kind == _TELL or (type(origin) is str and type(delivery.timeout_ms) is int))
    ):
        return delivery
    raise _no_packet(packet)


def _checked_response(packet: list[Any], response: Response) -> Response:
    # Only an answer has anything but texts after its id: the type, null for a plain value, and the body.
    texts = response.arguments if response.kind is not Kind.ANSWER else [response.arguments[0] or ""]
    if type(response.origin) is str and type(response.message_id) is int and all(type(text) is str for text in texts):
        return response
    raise _no_packet(packet)


def _no_packet(packet: Any) -> ProtocolError:
    return ProtocolError(f"{packet!r:.200} is no packet")


def _beside(envelope: Envelope) -> tuple[str | None, int, str | None, str | None, str | None]:
    trace = envelope.trace
    if trace is None:
        return envelope.sender, envelope.message_id, None, None, envelope.correlation_id
    return envelope.sender, envelope.message_id, trace.traceparent, trace.tracestate, envelope.correlation_id


def _shortened(text: str) -> str:
    """Cut an error's text, and escape the lone surrogates that JSON could not hold."""
    return text[:_MAX_ERROR_CHARACTERS].encode("utf-8", "backslashreplace").decode("utf-8")


def _write(fields: Any) -> bytes:
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError as error:
        message = f"packet cannot be written as JSON: {error}"
        raise ProtocolError(message) from error
