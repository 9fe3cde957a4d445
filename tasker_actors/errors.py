"""Every error this package raises on purpose, in one tree.

Each says what was wrong, where, and what to do. `exit_code` is what a command ends with when the error reaches it
(SPEC 7): 1 the work failed, 2 usage or configuration, 3 could not start, 4 gave up, 5 drain deadline passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class TaskerError(Exception):
    """Ancestor of every error of this package."""

    exit_code = 1


class ConfigurationError(TaskerError):
    """A setting, option or environment variable cannot be used; the message names it."""

    exit_code = 2


class StartupError(TaskerError):
    """The supervisor or a worker could not start: database, handler import, port in use."""

    exit_code = 3


class DatabaseUnavailableError(StartupError):
    """PostgreSQL could not be reached in time; the message has host and port, never a password."""


class WorkersCrashedError(TaskerError):
    """Too many worker crashes in a short time; the message has the last reason."""

    exit_code = 4


class ActorLostError(TaskerError):
    """An actor of the supervisor itself failed for good; the message names it, with its last error."""

    exit_code = 4


class DrainDeadlineError(TaskerError):
    """The drain deadline passed; the message names the steps that were returned to the queue."""

    exit_code = 5


class ProtocolError(TaskerError):
    """A message between two processes could not be read; the link it came over is closed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a template file.

    `severity` is `error` or `warning`; `key` is a dotted path inside the step (or the template), as a reader of the
    file would write it; `step` is None for the template itself.
    """

    file: str
    step: str | None
    key: str
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        where = f"step {self.step}: " if self.step else ""
        key = f"{self.key}: " if self.key else ""
        text = f"{self.file}: {where}{key}{self.message}"
        # One line on a terminal or in a log, whatever a file has for keys and values.
        return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


class TemplateError(TaskerError):
    """A template cannot be loaded; `faults` has every reason, not only the first."""

    exit_code = 2

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class HandlerNotFoundError(StartupError):
    """A step names a handler that is neither registered nor importable."""


class NativeLibraryError(StartupError):
    """A shared library or one of its functions cannot be used; the message names it, who needs it, and what to do."""
