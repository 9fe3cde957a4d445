"""Values of attributes as OTLP has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tasker_actors.release import release

_INT64: Final = range(-(2**63), 2**63)


def any_value(value: Any) -> AnyValue:
    """The value in OTLP. JSON values and bytes keep their type; an integer over 64 bits and any object become text.

    A lone surrogate, which UTF-8 does not have, is written escaped.
    """
    match value:
        case str():
            encoded = AnyValue(string_value=_text(value))
        case None:
            encoded = AnyValue()
        case bool():
            encoded = AnyValue(bool_value=value)
        case int() if value in _INT64:
            encoded = AnyValue(int_value=value)
        case float():
            encoded = AnyValue(double_value=value)
        case bytes():
            encoded = AnyValue(bytes_value=value)
        case Mapping():
            encoded = AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
        case list() | tuple():
            encoded = AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
        case _:
            encoded = AnyValue(string_value=_text(str(value)))
    return encoded


def key_values(attributes: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes in OTLP, without those that are None."""
    return [
        KeyValue(key=_text(str(key)), value=any_value(value)) for key, value in attributes.items() if value is not None
    ]


def resource(attributes: Mapping[str, Any]) -> Resource:
    """A resource with these attributes."""
    return Resource(attributes=key_values(attributes))


def tasker_scope() -> InstrumentationScope:
    """The instrumentation scope of what this package traces and measures itself."""
    return InstrumentationScope(name="tasker_actors", version=release())


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode()
