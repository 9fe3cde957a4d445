"""What a handler returns when a plain dict does not say enough (SPEC 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tasker_actors.steps.failures import ErrorType


@dataclass(frozen=True, slots=True)
class StepHandlerResult:
    """A success with its result, or a failure with its reason.

    Made with `success` or `failure`, not directly. `metadata` of a failure becomes part of its events' payload;
    `retry_after` is in seconds.
    """

    is_success: bool
    result: Any = None
    error_message: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    retryable: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)
    retry_after: float | None = None

    def __post_init__(self) -> None:
        """Raise TypeError for metadata that is no mapping, where the handler's author sees it."""
        metadata: Any = self.metadata
        if not isinstance(metadata, Mapping):
            msg = f"metadata of a StepHandlerResult must be a mapping, got {type(metadata).__name__}"
            raise TypeError(msg)

    @classmethod
    def success(cls, result: Any = None, metadata: Mapping[str, Any] | None = None) -> StepHandlerResult:
        """Complete the step; `result` is a JSON value or a pydantic model, and None stands for an empty object."""
        return cls(is_success=True, result=result, metadata={} if metadata is None else metadata)

    @classmethod
    def failure(
        cls,
        message: str,
        error_type: str = ErrorType.HANDLER_ERROR,
        retryable: bool = True,  # noqa: FBT001, FBT002 - third by position in tasker-py, whose modules run here
        metadata: Mapping[str, Any] | None = None,
        error_code: str | None = None,
        retry_after: float | None = None,
    ) -> StepHandlerResult:
        """Fail the attempt, and the step for good unless `retryable`."""
        return cls(
            is_success=False,
            error_message=message,
            # A user's own Enum of strings would be written as "Class.MEMBER" by str().
            error_type=error_type.value if isinstance(error_type, Enum) else error_type,
            error_code=error_code,
            retryable=retryable,
            metadata={} if metadata is None else metadata,
            retry_after=retry_after,
        )

    def is_success_result(self) -> bool:
        """Tell whether this is a success."""
        return self.is_success

    def is_failure_result(self) -> bool:
        """Tell whether this is a failure."""
        return not self.is_success
