"""A message of a durable queue as a handler gets it; what cannot be read is named and never raises anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from tasker_actors.errors import TaskerError
from tasker_actors.events.event import FIELDS, DomainEvent
from tasker_actors.events.frozen import freeze

_KINDS = (
    ("event_id", str),
    ("event_name", str),
    ("event_version", str),
    ("execution", dict | None),
    ("metadata", dict),
)
_NO_HEADERS: Mapping[str, Any] = freeze({})


class NotAnEventError(TaskerError):
    """A message in a queue of domain events is none: somebody else wrote it. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event with what its queue knows of it. `read_count` is 1 at the first delivery, `enqueued_at` in UTC.

    `msg_id` is the message's number in this queue; `event.event_id` names the event everywhere, and tells a second
    delivery from the first. `headers` (SPEC 2.4) are empty where whoever wrote the message gave none.
    """

    event: DomainEvent
    msg_id: int
    read_count: int
    enqueued_at: datetime
    headers: Mapping[str, Any]


def read_headers(text: str | None) -> Mapping[str, Any]:
    """Read a message's headers, frozen; what is no JSON object, or nested too deeply for Python, counts as none."""
    try:
        headers = None if text is None else orjson.loads(text)
        return freeze(headers) if isinstance(headers, dict) else _NO_HEADERS
    except (orjson.JSONDecodeError, RecursionError):
        return _NO_HEADERS


def read_event(text: str | None) -> DomainEvent:
    """Read a message as an event, and parse it; raises NotAnEventError."""
    text = text or "null"
    try:
        message = orjson.loads(text)
        if not isinstance(message, dict):
            raise NotAnEventError(f"this is no domain event: it is {_kind(message)} and no object")
        if message.keys() == set(FIELDS):
            # Not written anew: what our publishers may nest is the most that orjson writes, and the event is around it.
            event = DomainEvent(message["event_id"], message["event_name"], text.encode())
        else:
            event = DomainEvent.from_message(message)
        _check_kinds(message)
        dict(event)  # reads every part of it here, where a fault is still the message's
    except (orjson.JSONDecodeError, TypeError, RecursionError) as error:
        raise NotAnEventError(f"this message cannot be read: {error}") from error
    except ValueError as error:
        raise NotAnEventError(str(error)) from error
    return event


def correlation_id(headers: Mapping[str, Any], event: DomainEvent | None) -> str | None:
    """Return the correlation id of the headers, else of the event."""
    for found in (headers.get("correlation_id"), event and event.metadata.get("correlation_id")):
        if isinstance(found, str):
            return found
    return None


def _check_kinds(message: Mapping[str, Any]) -> None:
    for name, kinds in _KINDS:
        if not isinstance(message[name], kinds):
            raise NotAnEventError(f"this is no domain event: its {name} is {_kind(message[name])}")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "an array"
        case _:
            return "an object"
