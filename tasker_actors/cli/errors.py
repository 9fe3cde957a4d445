"""What goes wrong for a command, and how every error is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasker_actors.errors import StartupError, TaskerError, TemplateError

# What the caller gave cannot be used: bad JSON, no or a wrong key, too large, a context against its schema.
_USAGE_STATUSES = frozenset({400, 401, 403, 413, 415, 422})
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


class SupervisorUnreachableError(StartupError):
    """No supervisor answers at the address; the message says how to start one."""


class RequestRefusedError(TaskerError):
    """The supervisor answered with an error; `error` is its `{"code", "message", …}`, exit code 2 for bad input."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        self.status = status
        self.error = dict(error)
        if status in _USAGE_STATUSES:
            self.exit_code = 2
        super().__init__(_refusal_text(status, self.error))


class InputFileError(TaskerError):
    """A file or JSON text that was given to a command cannot be used; the message names it, with the line."""

    exit_code = 2


class WorkFailedError(TaskerError):
    """A task that was waited for did not complete."""


def error_document(error: TaskerError) -> dict[str, Any]:
    """Return an error as the JSON that a command with `--json` writes to standard error."""
    match error:
        case RequestRefusedError():
            return {"error": {**error.error, "status": error.status}}
        case TemplateError():
            faults = [str(fault) for fault in error.faults]
            return {"error": {"code": "template", "message": str(error), "faults": faults}}
        case _:
            name = type(error).__name__.removesuffix("Error")
            return {"error": {"code": _WORD_START.sub("_", name).lower(), "message": str(error)}}


def _refusal_text(status: int, error: Mapping[str, Any]) -> str:
    """Return the message and whatever the supervisor named besides it, one thing a line."""
    lines = [str(error.get("message") or f"the supervisor answered with HTTP {status}")]
    for key, value in error.items():
        if key in ("code", "message") or value in (None, [], {}):
            continue
        if isinstance(value, list):
            lines.extend(f"  {_detail(item)}" for item in value)
        else:
            lines.append(f"  {key}: {_detail(value)}")
    if status in (401, 403):
        lines.append("  set TASKER_API_KEY to the key that the supervisor was started with")
    return "\n".join(lines)


def _detail(value: Any) -> str:
    """Return one detail in words: a fault with a path reads `path: message`."""
    if isinstance(value, Mapping):
        if "message" in value:
            where = value.get("path")
            return f"{where}: {value['message']}" if where else str(value["message"])
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    return str(value)
