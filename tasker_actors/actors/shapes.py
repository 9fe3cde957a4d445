"""Message classes compiled once to the codecs of their fields."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any

import orjson

from tasker_actors.actors.codec import (
    ANY_JSON,
    BOOLEAN,
    BYTES,
    FLOAT,
    INTEGER,
    NULL,
    TEXT,
    Codec,
    ShapeError,
    enum_codec,
    mapping_codec,
    record_codec,
    sequence_codec,
    union_codec,
)
from tasker_actors.errors import ProtocolError

_LEAVES: dict[Any, Codec] = {
    Any: ANY_JSON,
    None: NULL,
    types.NoneType: NULL,
    str: TEXT,
    bool: BOOLEAN,
    int: INTEGER,
    float: FLOAT,
    bytes: BYTES,
    dict: mapping_codec(ANY_JSON),
    Mapping: mapping_codec(ANY_JSON),
}
# Dates and dataclasses where only JSON is declared would be written silently as something that is never read back.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def write_json(value: Any) -> bytes:
    """Write a JSON value; ProtocolError for what JSON cannot hold. NaN must be looked for by the caller."""
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        message = f"message cannot be written as JSON: {error}"
        raise ProtocolError(message) from error


def refuse_non_finite(value: Any) -> None:
    """Raise ProtocolError if NaN or an infinity is anywhere in a JSON value, since orjson writes them as null."""
    if isinstance(value, float) and not math.isfinite(value):
        message = f"message cannot be written as JSON: it contains {value}"
        raise ProtocolError(message)
    if isinstance(value, Mapping):
        for item in value.values():
            refuse_non_finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_non_finite(item)


@dataclass(slots=True)
class Shape:
    """One frozen dataclass: the names of its fields with their codecs, in the order of its constructor."""

    message_type: type
    fields: tuple[tuple[str, Codec], ...] = ()
    is_loose: bool = False

    def to_json(self, message: Any) -> dict[str, Any]:
        """Return the object that stands for a message."""
        result: dict[str, Any] = {}
        for name, codec in self.fields:
            value = getattr(message, name)
            if codec.types and type(value) not in codec.types:
                raise self._wrong(name, codec.to_json, value)
            if codec.write is not None:
                try:
                    value = codec.write(value)
                except ShapeError as error:
                    raise self._at(name, error) from error
            result[name] = value
        return result

    def from_json(self, value: Any) -> Any:
        """Build the message that a parsed object stands for: every field there, of its type, and nothing else."""
        if type(value) is not dict or len(value) != len(self.fields):
            names = ", ".join(name for name, _ in self.fields)
            message = f"{self.message_type.__name__} has the fields {names}, not {value!r:.200}"
            raise ShapeError(message)
        arguments = []
        for name, codec in self.fields:
            try:
                argument = value[name]
            except KeyError:
                message = f"{self.message_type.__name__}.{name} is missing"
                raise ShapeError(message) from None
            if codec.json_types and type(argument) not in codec.json_types:
                raise self._wrong(name, codec.from_json, argument)
            if codec.read is not None:
                try:
                    argument = codec.read(argument)
                except ShapeError as error:
                    raise self._at(name, error) from error
            arguments.append(argument)
        try:
            return self.message_type(*arguments)
        except (TypeError, ValueError) as error:
            message = f"{self.message_type.__name__} refuses its fields: {error}"
            raise ShapeError(message) from error

    def write(self, message: Any) -> bytes:
        """Write a message as JSON."""
        value = self.to_json(message)
        data = write_json(value)
        if self.is_loose and b"null" in data:
            refuse_non_finite(value)
        return data

    def _at(self, name: str, error: ShapeError) -> ShapeError:
        return ShapeError(f"{self.message_type.__name__}.{name}: {error}")

    def _wrong(self, name: str, convert: Callable[[Any], Any], value: Any) -> ShapeError:
        try:
            convert(value)
        except ShapeError as error:
            return self._at(name, error)
        raise AssertionError(name)


class Shapes:
    """Compiles message classes, each once, so that classes may contain each other and themselves."""

    def __init__(self) -> None:
        self._known: dict[type, Shape] = {}

    def of(self, message_type: type) -> Shape:
        """Return the shape of a frozen dataclass; TypeError, naming the field, if it cannot travel."""
        known = self._known.get(message_type)
        if known is not None:
            return known
        if not is_dataclass(message_type) or not message_type.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # typeshed does not declare it
            message = f"{message_type!r} is no frozen dataclass: only those are messages"
            raise TypeError(message)
        shape = self._known[message_type] = Shape(message_type)
        try:
            self._compile(shape)
        except BaseException:
            del self._known[message_type]
            raise
        return shape

    def _compile(self, shape: Shape) -> None:
        hints = typing.get_type_hints(shape.message_type)
        codecs = []
        for field in fields(shape.message_type):
            where = f"{shape.message_type.__name__}.{field.name}"
            if not field.init or field.kw_only:
                message = f"{where} is not a positional argument of the constructor, so it cannot be read back"
                raise TypeError(message)
            try:
                codecs.append(self._codec(hints[field.name]))
            except TypeError as error:
                message = f"{where} cannot travel between processes: {error}"
                raise TypeError(message) from error
        names = (field.name for field in fields(shape.message_type))
        shape.fields = tuple(zip(names, codecs, strict=True))
        shape.is_loose = any(codec.is_loose for codec in codecs)

    def _codec(self, hint: Any) -> Codec:
        leaf = _LEAVES.get(hint)
        if leaf is not None:
            return leaf
        container = self._container(typing.get_origin(hint), typing.get_args(hint))
        if container is not None:
            return container
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            return enum_codec(hint)
        if isinstance(hint, type) and is_dataclass(hint):
            return self._nested(self.of(hint))
        message = (
            f"{hint} is not one of str, int, float, bool, None, bytes, Any, tuple[…], dict[str, …], StrEnum, "
            "frozen dataclass, or a union of them"
        )
        raise TypeError(message)

    def _container(self, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
        if origin in (types.UnionType, typing.Union):
            return self._union(arguments)
        if origin is tuple and arguments[1:] == (Ellipsis,):
            return sequence_codec(self._codec(arguments[0]))
        if origin is tuple:
            return record_codec(tuple(self._codec(argument) for argument in arguments))
        if origin in (dict, Mapping) and arguments[0] is str:
            return mapping_codec(self._codec(arguments[1]))
        return None

    def _nested(self, shape: Shape) -> Codec:
        return Codec(
            frozenset({shape.message_type}),
            frozenset({dict}),
            write=shape.to_json,
            read=shape.from_json,
            is_loose=shape.is_loose or not shape.fields,  # a class that is being compiled may yet turn out loose
        )

    def _union(self, hints: tuple[Any, ...]) -> Codec:
        classes = [hint for hint in hints if isinstance(hint, type) and is_dataclass(hint)]
        if len(classes) < 2:  # noqa: PLR2004 - one class needs no tag to be told from the rest
            return union_codec(tuple(self._codec(hint) for hint in hints))
        others = tuple(self._codec(hint) for hint in hints if hint not in classes)
        return union_codec((self._tagged([self.of(one) for one in classes]), *others))

    def _tagged(self, shapes: list[Shape]) -> Codec:
        """Write one of several dataclasses as `[its name, its object]`."""
        by_name = {shape.message_type.__name__: shape for shape in shapes}
        if len(by_name) != len(shapes):
            message = "two of its classes have the same name"
            raise TypeError(message)

        def write(value: Any) -> list[Any]:
            name = type(value).__name__
            return [name, by_name[name].to_json(value)]

        def read(value: list[Any]) -> Any:
            match value:
                case [str(name), body] if name in by_name:
                    return by_name[name].from_json(body)
            message = f"{value!r:.60} is none of {', '.join(by_name)}"
            raise ShapeError(message)

        classes = frozenset(shape.message_type for shape in shapes)
        return Codec(classes, frozenset({list}), write=write, read=read, is_loose=any(s.is_loose for s in shapes))
