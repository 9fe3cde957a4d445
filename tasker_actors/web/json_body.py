"""Bodies of requests: JSON that PostgreSQL can store without changing it, then the model that the endpoint takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import ValidationError

from tasker_actors.events.json_faults import json_pointer
from tasker_actors.web.errors import ApiError
from tasker_actors.workflow.request_model import ApiModel, request_faults

_Model = TypeVar("_Model", bound=ApiModel)
# What a valid JSON text must contain for one of its values to be out of bounds. 19 digits can be beyond 64 bits.
_SUSPICIOUS = re.compile(rb"\\u0000|\d{19}")
_MAX_PATH = 500
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1


async def raw_body(request: Request) -> bytes:
    """Return the body, whose size the guard has bounded; raises ApiError 415 if it is declared as anything but JSON.

    A page of another origin can make a browser send a form or plain text to this port without asking, but not JSON.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json" and not (declared.startswith("application/") and declared.endswith("+json")):
        message = "send the body as JSON, with the header Content-Type: application/json"
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    return await request.body()


def read_body(raw: bytes, model: type[_Model], max_depth: int) -> _Model:
    """Read a body into a model, in a thread that may take its time: a large body is tens of ms of work.

    Raises ApiError 400 for what is no JSON or cannot be stored, 422 for what does not fit the model, with every fault.
    """
    document = parse_json(raw, max_depth)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = [asdict(fault) for fault in request_faults(error.errors(include_url=False, include_input=False))]
        message = f"the body cannot be used: {faults[0]['path'] or 'it'}: {faults[0]['message']}"
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", message, faults=faults) from error


def parse_json(raw: bytes, max_depth: int) -> Any:
    """Parse JSON strictly; raises ApiError 400 naming the place of what is wrong.

    Besides what the grammar forbids these are refused: NUL and lone surrogates, which PostgreSQL cannot store, NaN and
    infinity, integers beyond 64 bits, which would come back as other numbers, and deeper nesting than this.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _syntax_error(raw, error, max_depth) from error
    if raw.count(b"[") + raw.count(b"{") > max_depth:
        _check(document, max_depth)
    if _SUSPICIOUS.search(raw) is not None:
        # orjson turns integers that are too large into floats; only the standard library still shows them.
        _check(json.loads(raw), max_depth)
    return document


def _syntax_error(raw: bytes, error: orjson.JSONDecodeError, max_depth: int) -> ApiError:
    """Find the place of NaN, infinity or a lone surrogate, which Python's own parser lets through."""
    try:
        _check(json.loads(raw), max_depth)
    except ApiError as fault:
        return fault
    except (ValueError, RecursionError):
        pass  # it is no JSON for this parser either: orjson's reason stands
    return ApiError(HTTPStatus.BAD_REQUEST, "bad_json", f"the body is no valid JSON: {error}")


def _check(document: Any, max_depth: int) -> None:
    """Raise ApiError at the first value that cannot be stored. Walks without recursion, about 0.3 µs a value."""
    levels: list[Iterator[tuple[str | int, Any]]] = [iter((("", document),))]
    path: list[str | int] = [""]
    while levels:
        step = next(levels[-1], None)
        if step is None:
            levels.pop()
            path.pop()
            continue
        path[-1], value = step
        is_container = isinstance(value, (dict, list))
        reason = _key_fault(path[-1]) or _value_fault(value)
        if is_container and len(levels) > max_depth:
            reason = f"nested deeper than {max_depth} levels"
        if reason is not None:
            raise _fault(path[1:], reason)
        if is_container:
            levels.append(iter(value.items()) if isinstance(value, dict) else iter(enumerate(value)))
            path.append("")


def _fault(path: list[str | int], reason: str) -> ApiError:
    pointer = json_pointer(path)
    pointer = pointer if len(pointer) <= _MAX_PATH else pointer[:_MAX_PATH] + "..."
    message = f"the body cannot be stored: {pointer or 'the whole'}: {reason}"
    return ApiError(HTTPStatus.BAD_REQUEST, "bad_json", message, faults=[{"path": pointer, "message": reason}])


def _key_fault(key: str | int) -> str | None:
    return _text_fault(key, "its key") if isinstance(key, str) else None


def _value_fault(value: Any) -> str | None:
    match value:
        case str():
            return _text_fault(value, "the text")
        case bool() | None:
            return None
        case int() if not _MIN_INTEGER <= value <= _MAX_INTEGER:
            return "the integer is beyond 64 bits; send it as text"
        case float() if value - value != 0:
            return "NaN and infinity are no JSON numbers"
        case _:
            return None


def _text_fault(text: str, what: str) -> str | None:
    if "\0" in text:
        return f"{what} has a NUL character, which cannot be stored"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"{what} has a lone surrogate, which is no character"
    return None
