"""A domain event as its subscribers see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import orjson

from tasker_actors.events.frozen import freeze

EVENT_VERSION = "1.0"

FIELDS = ("event_id", "event_name", "event_version", "payload", "execution", "metadata")
"""The keys of a message, in its order (SPEC 2.4)."""

_PAYLOAD_KEY = b'"payload":'


class DomainEvent(Mapping[str, Any]):
    """A fact that was published; frozen to its last leaf, by attribute or as a mapping.

    Made from the bytes of its message, which are parsed at the first look at anything but id and name, and frozen key
    by key as they are read: what nobody reads costs nothing. With `payload_bytes`, the length of the payload in a
    message of `message_json`, a look at the payload parses nothing else. Two threads that look first at once both do
    it, and keep one equal result.
    Equal events have the same id and the same content; `to_dict()` gives a copy that can be changed.
    """

    __slots__ = ("_fields", "_message", "_payload_bytes", "event_id", "event_name")

    event_id: str
    event_name: str
    _message: bytes
    _payload_bytes: int
    _fields: dict[str, Any]

    def __init__(self, event_id: str, event_name: str, message: bytes, payload_bytes: int = 0) -> None:
        _set(self, "event_id", event_id)
        _set(self, "event_name", event_name)
        _set(self, "_message", message)
        _set(self, "_payload_bytes", payload_bytes)
        _set(self, "_fields", {})

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> DomainEvent:
        """Make an event of a message that was read, such as a row of the durable queue.

        Raises ValueError for what is no message: the keys that are missing are named. Further keys are left out.
        """
        missing = [key for key in FIELDS if key not in message]
        if missing:
            raise ValueError(f"this is no domain event: it has no {', '.join(missing)}")
        return cls(message["event_id"], message["event_name"], orjson.dumps({key: message[key] for key in FIELDS}))

    @property
    def event_version(self) -> str:
        """Version of the message's layout."""
        return self._frozen("event_version")  # type: ignore[no-any-return]  # the layout says text

    @property
    def payload(self) -> Any:
        """What the publisher put in, usually a read-only dict."""
        return self._frozen("payload")

    @property
    def execution(self) -> Mapping[str, Any] | None:
        """Status, attempt, duration_ms and error of the attempt; None for an event from outside a step."""
        return self._frozen("execution")  # type: ignore[no-any-return]  # the layout says an object or null

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Ids, namespace, correlation, fired_at, fired_by and custom, as in SPEC 2.4."""
        return self._frozen("metadata")  # type: ignore[no-any-return]  # the layout says an object

    def to_dict(self) -> dict[str, Any]:
        """Copy the whole message into plain dicts and lists."""
        return orjson.loads(self._message)  # type: ignore[no-any-return]  # a message is an object

    def _frozen(self, key: str) -> Any:
        fields = self._fields
        if key not in fields:
            fields = self._parsed(key)
        value = fields[key]
        if type(value) is dict or type(value) is list:
            value = fields[key] = freeze(value)
        return value

    def _parsed(self, key: str) -> dict[str, Any]:
        """Parse what is needed for a key, and nothing twice; a thread keeps the objects that it has seen."""
        fields = self._fields
        if "metadata" in fields:
            return fields  # all is parsed, and a message has no such key
        message, begin, end = self._message, 0, 0
        if self._payload_bytes:
            # Before it stand an id and a name, in which a quotation mark would be escaped: the first one found is it.
            begin = message.index(_PAYLOAD_KEY) + len(_PAYLOAD_KEY)
            end = begin + self._payload_bytes
        if key == "payload" and end:
            fields[key] = orjson.loads(message[begin:end])
            return fields
        if end and "payload" in fields:
            message = message[:begin] + b"null" + message[end:]
        whole: dict[str, Any] = orjson.loads(message) | fields
        _set(self, "_fields", whole)
        return whole

    def __getitem__(self, key: str) -> Any:
        return self._frozen(key)

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name}: an event is read-only; change a copy, such as event.to_dict()")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name}: an event is read-only")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DomainEvent):
            return NotImplemented
        if self.event_id != other.event_id:
            return False
        return self._message == other._message or self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.event_id)

    def __copy__(self) -> DomainEvent:
        return self

    def __deepcopy__(self, _memo: object) -> DomainEvent:
        return self

    def __reduce__(self) -> tuple[type[DomainEvent], tuple[str, str, bytes, int]]:
        return DomainEvent, (self.event_id, self.event_name, self._message, self._payload_bytes)

    def __repr__(self) -> str:
        return f"DomainEvent(event_id={self.event_id!r}, event_name={self.event_name!r})"


_set = object.__setattr__
"""How an event that refuses assignment gets its own values."""
