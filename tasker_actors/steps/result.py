"""What a handler returns when a plain dict does not say enough (SPEC 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from tasker_actors.steps.failures import ErrorType
from tasker_actors.workflow.checkpoint import YIELD
from tasker_actors.workflow.waiting import WAIT


class TaskNamed(Protocol):
    """Anything that names a task: a TaskReference, or a ChildTask."""

    @property
    def task_uuid(self) -> str:
        """The task's UUID."""


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

    @classmethod
    def wait_for(
        cls, tasks: Iterable[TaskNamed | str], checkpoint: Mapping[str, Any] | None = None
    ) -> StepHandlerResult:
        """End this call, and have the handler called again when all of these tasks are over, however they ended.

        They are tasks that this step's task has started, in this call or before, or their ids. No attempt is counted,
        and nothing is held meanwhile. The next call finds them in `context.child_tasks`. `checkpoint` (`cursor`,
        `items_processed`, `accumulated_results`, any of them) is there too, as `context.checkpoint`.
        """
        named = [task if isinstance(task, str) else task.task_uuid for task in tasks]
        document: dict[str, Any] = {"type": WAIT, "task_uuids": named}
        if checkpoint is not None:
            document["checkpoint"] = {"type": YIELD, "cursor": None, "items_processed": 0, **checkpoint}
        return cls.success(document, {WAIT: True})

    def is_success_result(self) -> bool:
        """Tell whether this is a success."""
        return self.is_success

    def is_failure_result(self) -> bool:
        """Tell whether this is a failure."""
        return not self.is_success
