"""Every error this package raises on purpose, in one tree.

Each says what was wrong, where, and what to do. `exit_code` is what a command ends with when the error reaches it
(SPEC 7): 1 the work failed, 2 usage or configuration, 3 could not start, 4 gave up, 5 drain deadline passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

# What the caller gave cannot be used: bad JSON, no or a wrong key, too large, a context against its schema.
_USAGE_STATUSES = frozenset({400, 401, 403, 413, 415, 422})


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

    `severity` is `error`, `warning` (strictly an error) or `notice`; `key` is a dotted path inside the step (or the
    template), as a reader of the file would write it; `step` is None for the template itself.
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


class UnavailableError(TaskerError):
    """Nobody can do now what was asked; the same may work later. What was to be changed may have been, or not."""


class SupervisorUnreachableError(UnavailableError, StartupError):
    """No supervisor answers at the address; the message says how to start one.

    `was_sent` is False where nothing of the request can have reached anybody.
    """

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        self.was_sent = was_sent
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class RequestFault:
    """One thing that is wrong with a request; `path` is a JSON pointer (RFC 6901), empty for the request itself."""

    path: str
    message: str


class RequestRefusedError(TaskerError):
    """A request was refused, and nothing was changed.

    `status` is HTTP's, and `error` the `{"code", "message", …}` of the HTTP API, also where no HTTP was spoken. The
    exit code is 2 for bad input.
    """

    statuses: ClassVar[frozenset[int]] = frozenset()
    """What a refusal is read as this class for, if its code is none of another class."""
    codes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        self.status = status
        self.error = dict(error)
        if status in _USAGE_STATUSES:
            self.exit_code = 2
        super().__init__(_refusal_text(status, self.error))

    @property
    def code(self) -> str:
        """What happened, in one word that never changes."""
        return str(self.error.get("code", ""))

    @property
    def faults(self) -> tuple[RequestFault, ...]:
        """What is wrong with the request, with the path of each; empty where the message says it all."""
        found = self.error.get("faults") or ()
        return tuple(RequestFault(str(one.get("path", "")), str(one.get("message", ""))) for one in found)

    @property
    def index(self) -> int | None:
        """Which task of a batch it is about."""
        index = self.error.get("index")
        return index if isinstance(index, int) else None


class InvalidRequestError(RequestRefusedError):
    """What was given cannot be used; `faults` has the path of each fault."""

    statuses = frozenset({400, 413, 415, 422})


class AccessDeniedError(RequestRefusedError):
    """The key is missing or wrong, or does not allow this."""

    statuses = frozenset({401, 403})


class UnknownTemplateError(RequestRefusedError):
    """There is no such template, or no such version of it; the message names the nearest."""

    codes = frozenset({"unknown_template"})


class TaskNotFoundError(RequestRefusedError):
    """There is no such task."""

    codes = frozenset({"unknown_task"})


class DuplicateTaskError(RequestRefusedError):
    """A task with this identity is there already, or is twice in the batch; `index` says which one of the batch."""

    codes = frozenset({"duplicate_task"})


class TaskFinishedError(RequestRefusedError):
    """The task is finished, and cannot be cancelled any more."""

    codes = frozenset({"task_finished"})


class TaskNotFinishedError(TaskerError, TimeoutError):
    """A task that was waited for is not finished yet, and goes on; `status` is its last one."""

    def __init__(self, task_uuid: str, status: str, timeout: float) -> None:
        self.task_uuid = task_uuid
        self.status = status
        super().__init__(f"task {task_uuid} was not finished within {timeout:g} s: its status is {status}")


class SupervisorUnavailableError(RequestRefusedError, UnavailableError):
    """The supervisor or its database cannot do it now; whether a change was made is not always known."""

    statuses = frozenset({503, 504})


_REFUSALS: tuple[type[RequestRefusedError], ...] = (
    UnknownTemplateError,
    TaskNotFoundError,
    DuplicateTaskError,
    TaskFinishedError,
    InvalidRequestError,
    AccessDeniedError,
    SupervisorUnavailableError,
)


def refusal(status: int, error: Mapping[str, Any]) -> RequestRefusedError:
    """Return an answer of the HTTP API as the error that it is."""
    code = error.get("code")
    for kind in _REFUSALS:
        if code in kind.codes or status in kind.statuses:
            return kind(status, error)
    return RequestRefusedError(status, error)


def invalid_request(
    status: HTTPStatus, code: str, message: str, faults: Iterable[RequestFault], *, index: int | None = None
) -> InvalidRequestError:
    """Refuse what was given, with every fault."""
    listed = [{"path": fault.path, "message": fault.message} for fault in faults]
    return InvalidRequestError(status, _details(code, message, faults=listed, index=index))


def unknown_template(message: str, *, index: int | None = None) -> UnknownTemplateError:
    """Say that there is no such template."""
    return UnknownTemplateError(HTTPStatus.NOT_FOUND, _details("unknown_template", message, index=index))


def duplicate_task(message: str, *, index: int | None = None) -> DuplicateTaskError:
    """Say that a task is there already, and nothing about that task."""
    return DuplicateTaskError(HTTPStatus.CONFLICT, _details("duplicate_task", message, index=index))


def _details(code: str, message: str, **details: Any) -> dict[str, Any]:
    return {"code": code, "message": message, **{key: value for key, value in details.items() if value is not None}}


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
