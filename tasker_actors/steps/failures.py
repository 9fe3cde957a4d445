"""What a handler raises to say how its attempt failed, and the types of failure (SPEC 6)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from tasker_actors.errors import TaskerError


class ErrorType(StrEnum):
    """The failure types that the runtime itself gives; a handler may name any other."""

    HANDLER_ERROR = "handler_error"
    RETRYABLE_ERROR = "retryable_error"
    PERMANENT_ERROR = "permanent_error"
    VALIDATION_ERROR = "validation_error"
    TIMEOUT = "timeout"


class _AttemptError(TaskerError):
    """What the two errors that handlers raise have in common.

    `retry_after` is in seconds and asks for that delay before the next attempt, in place of the computed one.
    `context` is joined into `metadata`, which goes with the failure into its events.
    """

    def __init__(
        self,
        message: str = "",
        *,
        error_code: str | None = None,
        retry_after: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code
        self.retry_after = retry_after
        self.metadata: dict[str, Any] = {**(metadata or {}), **(context or {})}


class RetryableError(_AttemptError):
    """Fails this attempt; the step is tried again while it has attempts left."""


class PermanentError(_AttemptError):
    """Fails the step for good, whatever attempts it has left."""


class InvalidInputError(PermanentError):
    """The step's inputs do not fit the models that its handler declares; another attempt would see the same ones."""


class StepTimeoutError(BaseException):
    """Raised inside a handler that runs past its time limit.

    Not an Exception, so that a handler's own `except Exception` in a loop cannot swallow its end; `finally` runs.
    It takes no arguments, because CPython makes the object itself where the error is raised into another thread.
    """

    def __str__(self) -> str:
        return "the step ran past its time limit"
