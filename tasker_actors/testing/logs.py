"""What a handler writes to `context.logger`, kept for a test to look at."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
}
_output = logging.getLogger("tasker_actors.handler")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line: its level's name, what it says, and its fields, the attempt's ids among them."""

    level: str
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class RecordingLogger:
    """A logger as handlers get it, which keeps its lines; they go to `logging` too, where pytest captures them."""

    def __init__(self, entries: list[LogEntry], fields: Mapping[str, Any] | None = None) -> None:
        self._entries = entries
        self._fields = dict(fields or {})

    def bind(self, **fields: Any) -> RecordingLogger:
        """Return a logger whose lines have these fields too."""
        return RecordingLogger(self._entries, {**self._fields, **fields})

    def new(self, **fields: Any) -> RecordingLogger:
        """Return a logger whose lines have these fields alone."""
        return RecordingLogger(self._entries, fields)

    def log(self, level: int, event: str, *arguments: Any, **fields: Any) -> None:
        """Write a line of a numbered level."""
        text = event % arguments if arguments else str(event)
        entry = LogEntry(logging.getLevelName(level).lower(), text, {**self._fields, **fields})
        self._entries.append(entry)
        _output.log(level, "%s %s", text, fields or "")

    def __getattr__(self, name: str) -> Any:
        """Hand out the method of a level."""
        level = _LEVELS.get(name)
        if level is None:
            raise AttributeError(f"a handler's logger has no {name!r}; it has {', '.join(_LEVELS)}, log and bind")

        def write(event: str, *arguments: Any, **fields: Any) -> None:
            self.log(level, event, *arguments, **fields)

        return write
