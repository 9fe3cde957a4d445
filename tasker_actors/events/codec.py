"""Turn values into the JSON bytes that are stored and sent, and refuse what PostgreSQL or JSON cannot hold."""

from __future__ import annotations

from typing import Any

import orjson

from tasker_actors.events.json_faults import PayloadError, as_json_type, check_value, is_plain_and_finite
from tasker_actors.events.json_size import stored_bytes
from tasker_actors.events.text import USER_ERRORS, described, payload_repr

__all__ = ["MAX_PAYLOAD_BYTES", "PayloadError", "check_size", "encode_payload", "json_text", "payload_repr"]

MAX_PAYLOAD_BYTES = 1024 * 1024
"""Largest payload, in bytes of JSON (SPEC 2.2)."""


def encode_payload(value: Any, *, max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """Write any JSON value as bytes that jsonb takes as they are and that parse back to the same value.

    Plain JSON types are taken, and dataclasses, pydantic models, enums, UUID, dates and times. Raises PayloadError and
    nothing else: NUL, NaN, infinity, lone surrogates and integers beyond 64 bits are errors at the publisher, never a
    silent change (SPEC 2.2, HAZARDS 26).
    """
    data = _encode(value)
    check_size(data, max_bytes)
    return data


def check_size(data: bytes, max_bytes: int) -> None:
    """Raise PayloadError when encoded JSON is longer than is allowed, as it is or as PostgreSQL writes it."""
    size = stored_bytes(data)
    if size > max_bytes:
        raise PayloadError("too_large", f"payload has {size} bytes of JSON, at most {max_bytes} are allowed")


def json_text(value: object) -> bytes:
    """Write a value of our own, made of storable text and finite numbers, as JSON; nothing is checked."""
    return orjson.dumps(value, default=as_json_type)


def _encode(value: Any) -> bytes:
    try:
        data = orjson.dumps(value, default=as_json_type)
        # Parsing back costs less than a microsecond for an ordinary event, and catches the raw bytes of an
        # orjson.Fragment, which dumps copies unread.
        orjson.loads(data)
        # orjson writes NaN as null without a word, and NUL as an escape that jsonb refuses. Both texts can also be
        # innocent (None, or a backslash before u0000), which only a walk over the value can tell.
        if b"\\u0000" in data or (b"null" in data and not is_plain_and_finite(value)):
            check_value(value)
    except PayloadError:
        raise
    except USER_ERRORS as error:  # serializers of users run in here
        raise _located(value, error) from error
    return data


def _located(value: Any, error: BaseException) -> PayloadError:
    """Find where in the value orjson's complaint comes from."""
    try:
        check_value(value)
    except PayloadError as fault:
        return fault
    except USER_ERRORS as raised:  # the serializer that raised before raises again
        error = raised
    return PayloadError("not_json", f"value cannot be written as JSON: {described(error)}")
