"""The errors that handlers written for tasker-py raise, and who decides whether an error is worth a retry."""

from __future__ import annotations

import builtins
from typing import Any

from tasker_actors.steps.failures import PermanentError, RetryableError


class TimeoutError(RetryableError):  # noqa: A001 - tasker-py's name; as `StepTimeoutError` at the package's top
    """Something took too long."""


class NetworkError(RetryableError):
    """There was no way through to somebody else."""


class RateLimitError(RetryableError):
    """Somebody else wants fewer requests."""


class ServiceUnavailableError(RetryableError):
    """Somebody else is down or overloaded."""


class ResourceContentionError(RetryableError):
    """Something is locked by somebody else."""


class ValidationError(PermanentError):
    """The data is not as it must be."""


class NotFoundError(PermanentError):
    """Something that is needed does not exist."""


class AuthenticationError(PermanentError):
    """Credentials were refused."""


class AuthorizationError(PermanentError):
    """Somebody may not do this."""


class ConfigurationError(PermanentError):
    """The handler's configuration cannot be used."""


class BusinessLogicError(PermanentError):
    """A rule of the business forbids this."""


class ErrorClassifier:
    """Says whether an exception is worth a retry, for a handler that catches errors itself.

    An error that says so itself (`retryable`) is believed. Errors of data and of code are not worth one, those of the
    surroundings are, and `default_retryable` decides about the rest. The runtime does not ask: whatever a handler
    raises is tried again unless it is a PermanentError.
    """

    PERMANENT_ERROR_CLASSES: tuple[type[Exception], ...] = (
        PermanentError, ValueError, TypeError, LookupError, AttributeError, AssertionError, SyntaxError, NameError,
        ImportError, NotImplementedError,
    )  # fmt: skip
    RETRYABLE_ERROR_CLASSES: tuple[type[Exception], ...] = (RetryableError, OSError, builtins.TimeoutError)

    def __init__(self, *, default_retryable: bool = True) -> None:
        self._default_retryable = default_retryable

    def retryable(self, exception: BaseException) -> bool:
        """Tell whether an exception is worth a retry."""
        return bool(self.classify(exception)["retryable"])

    def permanent(self, exception: BaseException) -> bool:
        """Tell whether an exception is not worth a retry."""
        return not self.retryable(exception)

    def classify(self, exception: BaseException) -> dict[str, Any]:
        """Return `error_type`, `retryable` and `classification`: what decided."""
        stated = getattr(exception, "retryable", None)
        if stated is not None:
            verdict, why = bool(stated), "explicit_attribute"
        elif isinstance(exception, self.PERMANENT_ERROR_CLASSES):
            verdict, why = False, "permanent_class"
        elif isinstance(exception, self.RETRYABLE_ERROR_CLASSES):
            verdict, why = True, "retryable_class"
        else:
            verdict, why = self._default_retryable, "default"
        return {"error_type": type(exception).__name__, "retryable": verdict, "classification": why}


_CLASSIFIER = ErrorClassifier()


def get_classifier() -> ErrorClassifier:
    """Return the classifier with the defaults."""
    return _CLASSIFIER


def is_retryable(exception: BaseException) -> bool:
    """Tell whether an exception is worth a retry, by the defaults."""
    return _CLASSIFIER.retryable(exception)


def is_permanent(exception: BaseException) -> bool:
    """Tell whether an exception is not worth a retry, by the defaults."""
    return _CLASSIFIER.permanent(exception)
