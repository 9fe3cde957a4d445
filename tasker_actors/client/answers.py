"""What the client returns: tasks, steps and receipts, read from the answers of the HTTP API.

A newer supervisor may say more than is known here: further keys are left out, and states are texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasker_actors.workflow.states import DONE_STEP_STATES, TERMINAL_TASK_STATES, TaskState

_SUCCEEDED = frozenset({TaskState.COMPLETE, TaskState.RESOLVED_MANUALLY})


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CreatedTask(Answer):
    """A task that was created; in a transaction it is there when that is committed."""

    task_uuid: str
    correlation_id: str


class PublishedEvent(Answer):
    """An event that was published."""

    event_id: str
    correlation_id: str


class TaskStep(Answer):
    """A step as its task shows it; `error` is of its last attempt."""

    step_uuid: str
    name: str
    status: str
    attempts: int
    max_attempts: int
    blocked: bool
    retry_at: datetime | None
    updated_at: datetime
    error: Mapping[str, Any] | None

    @property
    def is_done(self) -> bool:
        """Whether the steps after it can go on."""
        return self.status in DONE_STEP_STATES


class Step(TaskStep):
    """A step with its result. In a list large results are left out (`result_omitted`): ask for the step alone then."""

    task_uuid: str
    namespace: str
    dependencies: tuple[str, ...]
    worker_id: str | None
    result: Any
    result_omitted: bool


class Task(Answer):
    """A task as it was when the supervisor answered."""

    task_uuid: str
    namespace: str
    name: str
    version: str
    status: str
    context: Mapping[str, Any]
    priority: int
    tags: tuple[str, ...]
    initiator: str | None
    source_system: str | None
    reason: str | None
    correlation_id: str
    parent_correlation_id: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    total_steps: int
    completed_steps: int
    failed_steps: int
    completion_percentage: float
    steps: tuple[TaskStep, ...]
    start_at: datetime | None = None
    cancelled_by: str | None = None
    cancel_reason: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it will run any more, unless somebody resets it."""
        return self.status in TERMINAL_TASK_STATES

    @property
    def succeeded(self) -> bool:
        """Whether it came to a good end."""
        return self.status in _SUCCEEDED
