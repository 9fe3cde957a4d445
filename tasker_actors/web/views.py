"""What clients get, as OpenAPI shows it. Answers are written as plain dicts; a test reads real ones into these."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, RootModel

from tasker_actors.workflow.states import StepState, TaskState
from tasker_actors.workflow.summary import ExecutionStatus, HealthStatus, RecommendedAction


class View(BaseModel):
    """A JSON object with exactly these keys."""

    model_config = ConfigDict(extra="forbid")


class _StepState(View):
    """What is said of a step wherever it is shown. `error` is of its last attempt.

    The original's names stand beside ours: `workflow_step_uuid` is `step_uuid`, `current_state` is `status`,
    `next_retry_at` is `retry_at`. `named_step_uuid` is the same for this step in all tasks of a template.
    `total_parents` are the dependencies that exist.
    """

    step_uuid: str
    workflow_step_uuid: str
    task_uuid: str
    named_step_uuid: str
    name: str
    status: StepState
    current_state: StepState
    attempts: int
    max_attempts: int
    blocked: bool
    dependencies_satisfied: bool
    retry_eligible: bool
    ready_for_execution: bool
    total_parents: int
    completed_parents: int
    backoff_request_seconds: int | None
    retry_at: datetime | None
    updated_at: datetime
    error: Any


class StepBrief(_StepState):
    """A step as its task shows it. `retry_at` is set while it waits for a retry.

    Its last three times are UTC and written without a zone, as in the original.
    """

    next_retry_at: str | None
    last_failure_at: str | None
    last_attempted_at: str | None


class StepResults(View):
    """What a step came to, in the original's form."""

    step_uuid: str
    success: bool
    status: Literal["completed", "error"]
    result: Any
    metadata: dict[str, Any]
    error: Any


class StepView(_StepState):
    """A step with its result. In a list large results are left out: `result_omitted` is true then.

    `results` has the same once more as the original writes it; it is null while there is neither result nor error.
    """

    namespace: str
    created_at: datetime
    completed_at: datetime | None
    next_retry_at: datetime | None
    last_failure_at: datetime | None
    last_attempted_at: datetime | None
    dependencies: list[str]
    worker_id: str | None
    result: Any
    results: StepResults | None
    result_bytes: int
    result_omitted: bool


class AttemptView(View):
    """One attempt that has a result, or was lost with its worker."""

    attempt: int
    outcome: str
    error: Any
    worker_id: str
    duration_ms: float | None
    finished_at: datetime


class StepDetail(StepView):
    """A step with its result and the last 1,000 of its attempts."""

    attempt_history: list[AttemptView]


class StepList(RootModel[list[StepView]]):
    """The steps of a task, each after those it depends on."""


class TaskView(View):
    """A task with what its steps say about it.

    Who did not say who, where from or why is shown as `unknown`. The context of a task that does not fit into a page by
    number is left out: `context_omitted` is true then.
    """

    task_uuid: str
    name: str
    namespace: str
    version: str
    status: TaskState
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    context: dict[str, Any]
    context_omitted: bool
    initiator: str
    source_system: str
    reason: str
    priority: int
    tags: list[str]
    correlation_id: str
    parent_correlation_id: str | None
    start_at: datetime | None
    cancelled_by: str | None
    cancel_reason: str | None
    total_steps: int
    pending_steps: int
    in_progress_steps: int
    completed_steps: int
    failed_steps: int
    ready_steps: int
    execution_status: ExecutionStatus
    recommended_action: RecommendedAction
    completion_percentage: float
    health_status: HealthStatus
    steps: list[StepBrief]


class Pagination(View):
    """Where a page by number stands. Beyond 10,000 tasks `total_count` is a part of them: `is_exact` is false then."""

    page: int
    per_page: int
    total_count: int
    total_pages: int
    has_next: bool
    has_previous: bool
    is_exact: bool


class TaskList(View):
    """A page of tasks, the newest first; the next one begins at `next_cursor`, null after the last.

    `pagination` is null where the page was asked for with `limit` or `cursor`.
    """

    tasks: list[TaskView]
    next_cursor: str | None
    pagination: Pagination | None


class CreatedTask(View):
    """A task of a batch."""

    task_uuid: str
    correlation_id: str


class CreatedTasks(View):
    """The tasks of a batch, in its order."""

    tasks: list[CreatedTask]


class EventView(View):
    """An event as its queue has it, and where that is."""

    event_id: str
    event_name: str
    event_version: str
    payload: Any
    execution: dict[str, Any] | None
    metadata: dict[str, Any]
    queue: str
    msg_id: int
    enqueued_at: datetime


class EventList(View):
    """The newest events, in the order of `fired_at`; `truncated` if there are older ones."""

    events: list[EventView]
    truncated: bool


class PublishedEvent(View):
    """An event that was committed."""

    event_id: str
    correlation_id: str


class DeadLetterView(View):
    """An event that could not be published; `payload` is there where it could be stored."""

    namespace: str
    queue: str
    msg_id: int
    enqueued_at: datetime
    redrivable: bool
    event: dict[str, Any]
    payload: Any = None
    payload_repr: str | None
    reason: dict[str, Any]
    failed_at: datetime


class DeadLetterList(View):
    """The newest dead letters, in the order of `failed_at`; `truncated` if there are older ones."""

    dead_letters: list[DeadLetterView]
    truncated: bool


class RedrivenEvent(View):
    """A dead letter that was published again."""

    msg_id: int
    event_id: str


class RedriveRefusalView(View):
    """A dead letter that was not, and why."""

    msg_id: int | None
    event_id: str | None
    code: str
    message: str


class RedriveView(View):
    """What one batch did. To go on with all of a namespace, send `next_after_msg_id` as `after_msg_id`."""

    redriven: list[RedrivenEvent]
    refused: list[RedriveRefusalView]
    next_after_msg_id: int | None


class FaultView(View):
    """One thing that is wrong with a request; `path` is a JSON pointer into its body, or names a parameter."""

    path: str
    message: str


class ErrorBody(View):
    """What went wrong; `code` is for programs. Some codes have more keys: `faults`, `index` in a batch."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"code": "unknown_task", "message": "there is no task 0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"}]
        },
    )

    code: str
    message: str
    faults: list[FaultView] | None = None


class ErrorView(View):
    """The answer to every request that was refused."""

    error: ErrorBody
