"""Turns the fields of a log record into one line of bytes, JSON or console (SPEC 4.4).

Nothing a caller logs can fail here, start a second line, move a terminal's cursor or show a URL's password.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

import orjson

from tasker_actors.telemetry.redaction import redact

Fields = dict[str, Any]

HEAD: Final = ("timestamp", "level", "logger", "thread", "worker", "pid", "event")
_ENTITIES: Final = (
    "correlation_id", "parent_correlation_id", "task_uuid", "step_uuid", "step_name", "namespace", "event_id",
    "event_name", "queue_name", "message_id",
)  # fmt: skip
_TAIL: Final = ("error", "traceback", "trace_id", "span_id")
_PLACED: Final = frozenset((*HEAD, *_ENTITIES, *_TAIL))

_MAX_DEPTH: Final = 8
_PLAIN: Final = frozenset({int, bool})
_LARGEST_INTEGER: Final = 2**63 - 1  # what every JSON reader of 64 bits takes

_COLOURS: Final = {"debug": "36", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
# C0, DEL, C1, line and paragraph separators, and what turns the direction of writing.
_CONTROLS: Final = {
    code: (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")  # noqa: PLR2004  # the width of the escape
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def ordered(fields: Mapping[str, Any]) -> Fields:
    """The fields in the order of SPEC 4.4: head, ids, measurements as they came, error, trace; values made safe."""
    line: Fields = {name: fields.get(name) for name in HEAD}
    for name in _ENTITIES:
        if name in fields:
            line[name] = fields[name]
    for name, value in fields.items():
        if name not in _PLACED:
            line[name] = value
    for name in _TAIL:
        if name in fields:
            line[name] = fields[name]
    return {name: _shown(value) for name, value in line.items()}


def _shown(value: Any) -> Any:
    try:
        return _safe(value, _MAX_DEPTH)
    except Exception as error:  # noqa: BLE001  # a user's __str__ may raise anything, and the line must still be written
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _safe(value: Any, depth: int) -> Any:
    """A JSON value that stands for any object; text without passwords."""
    if isinstance(value, str):
        return redact(str(value))
    if value is None or type(value) in _PLAIN or (type(value) is float and isfinite(value)):
        return value
    if depth and isinstance(value, Mapping):
        return {redact(str(key)): _safe(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_safe(item, depth - 1) for item in value]
    return redact(f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value))


def json_line(fields: Fields) -> bytes:
    """One JSON object and a newline. What JSON cannot hold (a lone surrogate, a huge integer) is written escaped."""
    try:
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, ValueError):
        return orjson.dumps(_ascii(fields), option=orjson.OPT_APPEND_NEWLINE)


def _ascii(value: Any) -> Any:
    """The same with every text and number that may be the culprit in a form that JSON can hold."""
    if isinstance(value, dict):
        return {_ascii(key): _ascii(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_ascii(item) for item in value]
    if isinstance(value, str):
        return value.encode("ascii", "backslashreplace").decode()
    if type(value) is int and abs(value) > _LARGEST_INTEGER:
        return hex(value)
    return value


def console_line(fields: Fields, *, coloured: bool) -> bytes:
    """One line for a person, and the traceback below it, each of its lines indented; control characters escaped."""
    level = str(fields["level"])
    shown = [
        str(fields["timestamp"]),
        _paint(f"{level:<8}", _COLOURS.get(level, "0"), coloured=coloured),
        _plain(fields["logger"]),
        _plain(fields["thread"]),
        f"worker={'-' if fields['worker'] is None else _quoted(fields['worker'])}",
        f"pid={fields['pid']}",
        _paint(_plain(fields["event"]), "1", coloured=coloured),
    ]
    for name, value in fields.items():
        if name not in HEAD and name != "traceback":
            shown.append(f"{_paint(_plain(name), '36', coloured=coloured)}={_quoted(value)}")
    lines = [" ".join(shown)]
    lines += ["    " + _plain(line) for line in str(fields.get("traceback", "")).splitlines()]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _paint(text: str, colour: str, *, coloured: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if coloured else text


def _plain(value: Any) -> str:
    return str(value).translate(_CONTROLS)


def _quoted(value: Any) -> str:
    text = _plain(value)
    return text if text and not set(text) & set(' "=') else '"' + text.replace('"', '\\"') + '"'
