"""What a handler holds of a task that it has started, and the error where it cannot start one."""

from __future__ import annotations

from dataclasses import dataclass

from tasker_actors.steps.failures import PermanentError


class TaskRefusedError(PermanentError):
    """A handler starts a task that cannot be; `error_code` says in a word why."""


@dataclass(frozen=True, slots=True)
class TaskReference:
    """A task that a handler has started: it exists once the attempt is committed."""

    task_uuid: str
    namespace: str
    name: str
    version: str
