"""`tasker_core.logging`: lines in the runtime's log; inside a step they carry its ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from tasker_actors.telemetry.logging import get_logger


class LogContext(BaseModel):
    """Fields of a line, as a value: those that are set become the line's."""

    correlation_id: str | None = None
    task_uuid: str | None = None
    step_uuid: str | None = None
    namespace: str | None = None
    operation: str | None = None


def log_error(message: str, fields: Mapping[str, Any] | LogContext | None = None) -> None:
    """Log what somebody must act on."""
    _log("error", message, fields)


def log_warn(message: str, fields: Mapping[str, Any] | LogContext | None = None) -> None:
    """Log what works worse than it should."""
    _log("warning", message, fields)


def log_info(message: str, fields: Mapping[str, Any] | LogContext | None = None) -> None:
    """Log what happened."""
    _log("info", message, fields)


def log_debug(message: str, fields: Mapping[str, Any] | LogContext | None = None) -> None:
    """Log what helps its author."""
    _log("debug", message, fields)


def log_trace(message: str, fields: Mapping[str, Any] | LogContext | None = None) -> None:
    """Log the same as `log_debug`: there is no finer level."""
    _log("debug", message, fields)


def _log(level: str, message: str, fields: Mapping[str, Any] | LogContext | None) -> None:
    if isinstance(fields, LogContext):
        fields = fields.model_dump(exclude_none=True)
    # A field may have any name, also one that the logger's method has for itself.
    given = {("event_" if name == "event" else name): value for name, value in (fields or {}).items()}
    getattr(get_logger("tasker_core"), level)(message, **given)


__all__ = ["LogContext", "log_debug", "log_error", "log_info", "log_trace", "log_warn"]
