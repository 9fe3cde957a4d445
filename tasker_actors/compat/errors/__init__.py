"""`tasker_core.errors`: what handlers raise."""

from typing import NoReturn

from tasker_actors.compat.absent import refuse
from tasker_actors.steps.failures import AttemptError as TaskerError
from tasker_actors.steps.failures import PermanentError, RetryableError
from tasker_actors.steps.step_errors import (
    AuthenticationError,
    AuthorizationError,
    BusinessLogicError,
    ConfigurationError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    ResourceContentionError,
    ServiceUnavailableError,
    TimeoutError,  # noqa: A004 - tasker-py's name
    ValidationError,
)

__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "BusinessLogicError",
    "ConfigurationError",
    "NetworkError",
    "NotFoundError",
    "PermanentError",
    "RateLimitError",
    "ResourceContentionError",
    "RetryableError",
    "ServiceUnavailableError",
    "TaskerError",
    "TimeoutError",
    "ValidationError",
]


def __getattr__(name: str) -> NoReturn:
    """Say why nobody has to catch an error of tasker-py's own worker."""
    refuse(name, "tasker_core.errors")
