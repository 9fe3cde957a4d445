"""What goes wrong for a command, and how every error is shown."""

from __future__ import annotations

import re
from typing import Any

from tasker_actors.errors import RequestRefusedError, TaskerError, TemplateError

_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


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
