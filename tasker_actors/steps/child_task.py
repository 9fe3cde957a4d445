"""What a handler sees of the tasks that its step has waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasker_actors.steps.failures import PermanentError, RetryableError
from tasker_actors.workflow.states import TERMINAL_TASK_STATES, TaskState


class ChildTaskFailedError(PermanentError):
    """A task that the step waited for failed or was cancelled; another attempt would find the same."""

    def __init__(self, child: ChildTask, message: str) -> None:
        super().__init__(message, error_code="child_task_failed", metadata={"child_task_uuid": child.task_uuid})
        self.child = child


@dataclass(frozen=True, slots=True)
class ChildTask:
    """A task that this step had started and waited for.

    `status` is the task's: complete, error or cancelled. `results` are those of its last steps by name, the steps that
    nothing depends on; empty, with `results_omitted`, where those of all the tasks together are more than 256 KiB.
    `error` has `step_name`, `error_type` and `message` of the first step that failed for good.
    """

    task_uuid: str
    namespace: str
    name: str
    version: str
    status: TaskState
    results: Mapping[str, Any] = field(default_factory=dict)
    results_omitted: bool = False
    error: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> ChildTask:
        """Read what the database keeps of it."""
        return cls(
            task_uuid=row["task_uuid"],
            namespace=row["namespace"],
            name=row["name"],
            version=row["version"],
            status=TaskState(row["status"]),
            results=row["results"] or {},
            results_omitted=row["results"] is None,
            error=row["error"],
        )

    @property
    def is_complete(self) -> bool:
        """Whether all went well."""
        return self.status is TaskState.COMPLETE

    def raise_for_failure(self) -> None:
        """Raise ChildTaskFailedError, which fails the step for good, unless the task is complete.

        One that is not over, which only an operator's reset can bring about, is a RetryableError.
        """
        if self.is_complete:
            return
        what = f"task {self.namespace}/{self.name} ({self.task_uuid})"
        if self.status not in TERMINAL_TASK_STATES:
            raise RetryableError(f"{what} is not over: it is {self.status}", error_code="child_task_unfinished")
        why = "" if self.error is None else f": step {self.error['step_name']!r}: {self.error['message']}"
        raise ChildTaskFailedError(self, f"{what} is {self.status}{why}")
