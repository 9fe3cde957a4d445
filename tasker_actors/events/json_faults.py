"""Why a Python value is no payload: the slow, exact side of the codec, run only for a value that looks wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

import orjson
from pydantic import BaseModel

from tasker_actors.errors import TaskerError
from tasker_actors.events.text import shortened, storable_text

MAX_DEPTH = 254
"""Levels of nesting that orjson writes; one more is refused, and so is a value that contains itself."""

_NEVER_NULL = frozenset({str, int, bool, type(None)})
"""Types of which orjson writes no other value as null than None."""

_MIN_INTEGER = -(2**63)
_MAX_INTEGER = 2**64 - 1
_MAX_PATH_CHARACTERS = 500


class PayloadError(TaskerError):
    """A value cannot be an event's payload.

    `code` is one of not_json, nan_or_infinity, nul_character, lone_surrogate, integer_out_of_range, too_large;
    `path` is a JSON pointer to the fault (`/items/0/price`), empty for the payload itself. Code, message and path are
    storable text of bounded length, whatever the value was.
    """

    def __init__(self, code: str, message: str, path: str = "") -> None:
        self.code = code
        self.message = message
        self.path = path
        super().__init__(f"{path}: {message}" if path else message)


class _Fault:
    """A fault on its way up: every level that it passes appends its own key or index."""

    __slots__ = ("code", "message", "parts")

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        self.parts: list[str | int] = []


def check_value(value: object) -> None:
    """Raise PayloadError at the first fault of a value, in the order in which it would be written.

    Also raises whatever a user's own serializer raises. Walks the whole value: about 0.1 µs a node.
    """
    fault = _find(value, 1)
    if fault is not None:
        raise PayloadError(fault.code, fault.message, json_pointer(reversed(fault.parts)))


def is_plain_and_finite(value: object) -> bool:
    """Tell at once that a value, which orjson has written, is of builtin types without a NaN or infinity in it.

    False says only that it may not be: ask check_value. Four to eight times as fast, for the ordinary payload with a
    None in it.
    """
    pending = [value]
    while pending:
        item: Any = pending.pop()
        kind = type(item)
        if kind is dict:
            pending.extend(item.values())
        elif kind is list or kind is tuple:
            pending.extend(item)
        elif kind is float:
            if not math.isfinite(item):
                return False
        elif kind not in _NEVER_NULL:
            return False
    return True


def as_json_type(value: object) -> object:
    """Turn what orjson does not write into what it does; raises TypeError for what is no JSON at all.

    Pydantic models, mappings, named tuples and float subclasses are taken. Sets, bytes and Decimal are not: each could
    be written in more than one way, and the publisher has to say which.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return tuple(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON; convert it to text, a number, a list or a dict")


def json_pointer(parts: Iterable[str | int]) -> str:
    """Write a path as a JSON pointer (RFC 6901), storable and shortened to 500 characters."""
    pointer = "".join(f"/{_pointer_part(part)}" for part in parts)
    return shortened(storable_text(pointer), _MAX_PATH_CHARACTERS)


def _pointer_part(part: str | int) -> str:
    return shortened(str(part), _MAX_PATH_CHARACTERS).replace("~", "~0").replace("/", "~1")


def _find(value: object, depth: int) -> _Fault | None:
    fault: _Fault | None
    match value:
        case None | bool():
            fault = None
        case Enum():  # before str and int: orjson writes the value of a StrEnum or IntEnum too
            fault = _find(value.value, depth)
        case str():
            fault = _text_fault(value)
        case int():
            fault = _integer_fault(value)
        case float():
            fault = _float_fault(value)
        case dict():
            fault = _mapping_fault(value, depth)
        case list() | tuple():
            fault = _sequence_fault(value, depth)
        case _:
            fault = _object_fault(value, depth)
    return fault


def _text_fault(text: str) -> _Fault | None:
    if "\0" in text:
        return _Fault("nul_character", "text has a NUL character, which PostgreSQL cannot store; remove it")
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X}"
        return _Fault("lone_surrogate", f"text has the lone surrogate {found}, which is no character; remove it")
    return None


def _integer_fault(number: int) -> _Fault | None:
    if _MIN_INTEGER <= number <= _MAX_INTEGER:
        return None
    return _Fault("integer_out_of_range", "integer is beyond 64 bits; write it as text")


def _float_fault(number: float) -> _Fault | None:
    if math.isfinite(number):
        return None
    return _Fault("nan_or_infinity", f"{float(number)} is no JSON number; write null or leave it out")


def _mapping_fault(mapping: Mapping[Any, object], depth: int) -> _Fault | None:
    if depth > MAX_DEPTH:
        return _too_deep()
    for key, item in mapping.items():
        if type(key) is not str:  # orjson refuses subclasses of str, and so members of a StrEnum, as keys
            return _Fault("not_json", f"key of type {type(key).__name__}; a key must be a plain str")
        fault = _text_fault(key) or _find(item, depth + 1)
        if fault is not None:
            fault.parts.append(key)
            return fault
    return None


def _sequence_fault(items: Iterable[object], depth: int) -> _Fault | None:
    if depth > MAX_DEPTH:
        return _too_deep()
    for index, item in enumerate(items):
        fault = _find(item, depth + 1)
        if fault is not None:
            fault.parts.append(index)
            return fault
    return None


def _object_fault(value: object, depth: int) -> _Fault | None:
    if depth > MAX_DEPTH:
        return _too_deep()
    if is_dataclass(value) and not isinstance(value, type):
        return _mapping_fault(_dataclass_items(value), depth)
    if isinstance(value, BaseModel | Mapping):
        return _find(as_json_type(value), depth + 1)
    try:
        written = orjson.loads(orjson.dumps(value))
    except orjson.JSONDecodeError as error:
        return _Fault("not_json", f"the bytes of an orjson.Fragment are no JSON: {error}")
    except TypeError as error:
        return _Fault("not_json", f"{type(value).__name__} cannot be written as JSON ({error}); convert it first")
    return _find(written, depth + 1)  # UUID and dates are text by now, and a Fragment is what its bytes say


def _dataclass_items(value: Any) -> dict[str, object]:
    """Give what orjson writes of a dataclass: its attributes without a leading underscore."""
    attributes = getattr(value, "__dict__", None)
    if attributes is None:
        attributes = {each.name: getattr(value, each.name) for each in dataclass_fields(value)}
    return {name: item for name, item in attributes.items() if not name.startswith("_")}


def _too_deep() -> _Fault:
    return _Fault("not_json", f"nested deeper than {MAX_DEPTH} levels, or it contains itself")
