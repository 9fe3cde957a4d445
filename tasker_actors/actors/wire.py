"""Messages as JSON and back: only types that were registered, checked field by field, nothing evaluated.

A message is written as an object of its fields. Reading builds the registered class and nothing else, so bytes from
another process can name a class but never bring code (DESIGN G12: no pickle, no eval).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any

import orjson

from tasker_actors.actors.shapes import Shape, Shapes, refuse_non_finite, write_json
from tasker_actors.errors import ProtocolError


class MessageRegistry:
    """The message types that two processes exchange, by name.

    Types may be added while links run: a message that comes before its type is known here is refused.
    """

    def __init__(self, types: Iterable[type] = ()) -> None:
        self._shapes = Shapes()
        self._by_name: dict[str, Shape] = {}
        self._by_type: dict[type, tuple[str, Shape]] = {}
        for message_type in types:
            self.register(message_type)

    def register(self, message_type: type, name: str | None = None) -> None:
        """Let a frozen dataclass travel under a name, by default its class's.

        TypeError, naming the field, if it has a field that could not be read back as it was; ValueError if the name is
        taken by another class.
        """
        name = name or message_type.__name__
        known = self._by_name.get(name)
        if known is not None and known.message_type is not message_type:
            message = (
                f"message name {name!r} belongs to {known.message_type!r}: register {message_type!r} under another"
            )
            raise ValueError(message)
        shape = self._shapes.of(message_type)
        self._by_name[name] = shape
        self._by_type[message_type] = (name, shape)

    def encode(self, value: Any) -> tuple[str | None, orjson.Fragment]:
        """Write a registered message under its name, or a plain JSON value (an answer may be one) under None.

        Raises ProtocolError for what would arrive as something else: an unregistered class, NaN, an integer over 64
        bits, a lone surrogate.
        """
        known = self._by_type.get(type(value))
        if known is None:
            if is_dataclass(value):
                message = f"{type(value).__name__} is not registered: register it in both processes"
                raise ProtocolError(message)
            data = write_json(value)
            if b"null" in data:
                refuse_non_finite(value)
            return None, orjson.Fragment(data)
        name, shape = known
        return name, orjson.Fragment(shape.write(value))

    def decode(self, name: str | None, value: Any) -> Any:
        """Read what `encode` wrote, after the JSON was parsed; raises ProtocolError for anything else."""
        if name is None:
            return value
        shape = self._by_name.get(name)
        if shape is None:
            message = f"message type {name!r:.80} is not registered in this process: register it in both"
            raise ProtocolError(message)
        return shape.from_json(value)
