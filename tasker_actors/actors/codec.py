"""How one declared type becomes JSON and back, without loss: the leaves and containers of a message's fields."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasker_actors.errors import ProtocolError

ANYTHING: frozenset[type] = frozenset()


class ShapeError(ProtocolError):
    """A value does not have the type that its field declares; the message has the path to it."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Writes values of exactly `types`, reads JSON of exactly `json_types`; `ANYTHING` stands for every type.

    `write` and `read` are None where the JSON value is the value. `is_loose`: holds values that nothing declares, in
    which orjson would silently turn NaN into null.
    """

    types: frozenset[type]
    json_types: frozenset[type]
    write: Callable[[Any], Any] | None = None
    read: Callable[[Any], Any] | None = None
    is_loose: bool = False

    def to_json(self, value: Any) -> Any:
        """Return what orjson should write for a value; ShapeError if the value is of another type."""
        if self.types and type(value) not in self.types:
            raise ShapeError(_mismatch(value, self.types))
        return value if self.write is None else self.write(value)

    def from_json(self, value: Any) -> Any:
        """Return the value that parsed JSON stands for; ShapeError if it stands for none of this type."""
        if self.json_types and type(value) not in self.json_types:
            raise ShapeError(_mismatch(value, self.json_types))
        return value if self.read is None else self.read(value)


def _mismatch(value: Any, types: frozenset[type]) -> str:
    expected = " or ".join(sorted(t.__name__ for t in types))
    return f"{value!r:.60} is {type(value).__name__}, not {expected}"


def _finite(value: float) -> float:
    if not math.isfinite(value):
        message = f"{value} has no JSON: send None or a string in its place"
        raise ShapeError(message)
    return float(value)


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"{text!r:.60} is not base64: {error}"
        raise ShapeError(message) from error


NULL = Codec(frozenset({type(None)}), frozenset({type(None)}))
TEXT = Codec(frozenset({str}), frozenset({str}))
BOOLEAN = Codec(frozenset({bool}), frozenset({bool}))
INTEGER = Codec(frozenset({int}), frozenset({int}))
FLOAT = Codec(frozenset({float, int}), frozenset({float, int}), write=_finite, read=float)
BYTES = Codec(frozenset({bytes}), frozenset({str}), write=_to_base64, read=_from_base64)
ANY_JSON = Codec(ANYTHING, ANYTHING, is_loose=True)


def enum_codec(enum: type[StrEnum]) -> Codec:
    """Write a member as its value."""

    def read(value: str) -> StrEnum:
        try:
            return enum(value)
        except ValueError as error:
            raise ShapeError(str(error)) from error

    def write(member: StrEnum) -> str:
        return member.value

    return Codec(frozenset({enum}), frozenset({str}), write=write, read=read)


def sequence_codec(element: Codec) -> Codec:
    """Write a tuple of any length, all of one type, as an array."""

    def write(values: tuple[Any, ...]) -> list[Any]:
        return [_at(str(index), element.to_json, value) for index, value in enumerate(values)]

    def read(values: list[Any]) -> tuple[Any, ...]:
        return tuple(_at(str(index), element.from_json, value) for index, value in enumerate(values))

    return Codec(frozenset({tuple}), frozenset({list}), write=write, read=read, is_loose=element.is_loose)


def record_codec(elements: tuple[Codec, ...]) -> Codec:
    """Write a tuple of fixed length, each place of its own type, as an array."""

    def places(values: tuple[Any, ...] | list[Any]) -> zip[tuple[int, Codec, Any]]:
        if len(values) != len(elements):
            message = f"{len(values)} values, not {len(elements)}"
            raise ShapeError(message)
        return zip(range(len(elements)), elements, values, strict=True)

    def write(values: tuple[Any, ...]) -> list[Any]:
        return [_at(str(index), codec.to_json, value) for index, codec, value in places(values)]

    def read(values: list[Any]) -> tuple[Any, ...]:
        return tuple(_at(str(index), codec.from_json, value) for index, codec, value in places(values))

    is_loose = any(element.is_loose for element in elements)
    return Codec(frozenset({tuple}), frozenset({list}), write=write, read=read, is_loose=is_loose)


def mapping_codec(element: Codec) -> Codec:
    """Write a dict from text to one type as an object; orjson itself refuses keys that are no text."""

    def write(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _at(key, element.to_json, value) for key, value in values.items()}

    def read(values: dict[str, Any]) -> dict[str, Any]:
        return {key: _at(key, element.from_json, value) for key, value in values.items()}

    if element is ANY_JSON:
        return Codec(frozenset({dict}), frozenset({dict}), is_loose=True)
    return Codec(frozenset({dict}), frozenset({dict}), write=write, read=read, is_loose=element.is_loose)


def union_codec(options: tuple[Codec, ...]) -> Codec:
    """Write a value as the option that has its type; TypeError if JSON could not tell two options apart."""
    writers: dict[type, Codec] = {}
    readers: dict[type, Codec] = {}
    # A float also takes integers, but only where no option is an integer proper.
    for option in sorted(options, key=lambda codec: codec is FLOAT):
        if option is ANY_JSON:
            return ANY_JSON
        for taken, types in ((writers, option.types), (readers, option.json_types)):
            for one in types:
                if one in taken and not (option is FLOAT and one is int):
                    message = f"two of its types are both written as {one.__name__}"
                    raise TypeError(message)
                taken.setdefault(one, option)
    return Codec(
        frozenset(writers),
        frozenset(readers),
        write=lambda value: writers[type(value)].to_json(value),
        read=lambda value: readers[type(value)].from_json(value),
        is_loose=any(option.is_loose for option in options),
    )


def _at(place: object, convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except ShapeError as error:
        message = f"{place}: {error}"
        raise ShapeError(message) from error
