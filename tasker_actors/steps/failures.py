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

    @classmethod
    def is_standard(cls, error_type: str) -> bool:
        """Tell whether the runtime gives this type itself."""
        return error_type in list(cls)

    @classmethod
    def is_typically_retryable(cls, error_type: str) -> bool:
        """Tell whether a failure of this type is mostly worth another attempt."""
        return error_type in (cls.RETRYABLE_ERROR, cls.TIMEOUT)


class AttemptError(TaskerError):
    """What the errors that handlers raise have in common; raised itself it is a `handler_error`.

    `retryable` says whether another attempt may help; each class has its own default. `retry_after` is in seconds and
    asks for that delay before the next attempt, in place of the computed one. `context` is joined into `metadata`,
    which goes with the failure into its events.
    """

    retryable: bool = True

    def __init__(
        self,
        message: str = "",
        *,
        retryable: bool | None = None,
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
        if retryable is not None:
            self.retryable = retryable

    def to_dict(self) -> dict[str, Any]:
        """Describe the error as JSON, for a log or an answer."""
        return {
            "error_type": type(self).__name__,
            "message": self.message,
            "retryable": self.retryable,
            "metadata": self.metadata,
        }


class RetryableError(AttemptError):
    """Fails this attempt; the step is tried again while it has attempts left."""


class PermanentError(AttemptError):
    """Fails the step for good, whatever attempts it has left."""

    retryable = False


class InvalidInputError(PermanentError):
    """The step's inputs do not fit the models that its handler declares; another attempt would see the same ones."""


class StepTimeoutError(BaseException):
    """Raised inside a handler that runs past its time limit.

    Not an Exception, so that a handler's own `except Exception` in a loop cannot swallow its end; `finally` runs.
    It takes no arguments, because CPython makes the object itself where the error is raised into another thread.
    """

    def __str__(self) -> str:
        return "the step ran past its time limit"
