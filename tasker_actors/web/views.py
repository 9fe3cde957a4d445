"""What clients get, as OpenAPI shows it. Answers are written as plain dicts; a test reads real ones into these."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasker_actors.workflow.states import StepState, TaskState
from tasker_actors.workflow.summary import ExecutionStatus, HealthStatus, RecommendedAction


class View(BaseModel):
    """A JSON object with exactly these keys."""

    model_config = ConfigDict(extra="forbid")


class StepBrief(View):
    """A step as its task shows it. `retry_at` is set while it waits for a retry, `error` is of its last attempt."""

    step_uuid: str
    name: str
    status: StepState
    attempts: int
    max_attempts: int
    blocked: bool
    retry_at: datetime | None
    updated_at: datetime
    error: Any


class StepView(StepBrief):
    """A step with its result. In a list large results are left out: `result_omitted` is true then."""

    task_uuid: str
    namespace: str
    dependencies: list[str]
    worker_id: str | None
    result: Any
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


class StepList(View):
    """The steps of a task, each after those it depends on."""

    steps: list[StepView]


class TaskView(View):
    """A task with what its steps say about it."""

    task_uuid: str
    name: str
    namespace: str
    version: str
    status: TaskState
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    context: dict[str, Any]
    initiator: str | None
    source_system: str | None
    reason: str | None
    priority: int
    tags: list[str]
    correlation_id: str
    parent_correlation_id: str | None
    start_at: datetime | None
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


class TaskList(View):
    """A page of tasks, the newest first; the next one begins at `next_cursor`, null after the last."""

    tasks: list[TaskView]
    next_cursor: str | None


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


class TemplateEventView(View):
    """An event that a step declares."""

    name: str
    delivery_mode: str
    condition: str


class TemplateStepView(View):
    """A step of a template."""

    name: str
    description: str | None
    handler: str
    dependencies: list[str]
    max_attempts: int
    publishes_events: list[TemplateEventView]


class TemplateView(View):
    """A template that tasks can be created from."""

    namespace: str
    name: str
    version: str
    description: str | None
    input_schema: dict[str, Any] | None
    steps: list[TemplateStepView]


class TemplateList(View):
    """Every version of every template of this supervisor."""

    templates: list[TemplateView]


class WorkerView(View):
    """A worker of any supervisor on this database."""

    slot: int
    worker_id: str
    incarnation: int
    pid: int | None
    alive: bool
    state: str
    in_flight: int
    started_at: datetime
    restarts: int
    last_reason: str | None
    host: str
    supervisor_id: str
    heartbeat_at: datetime
    ended_at: datetime | None


class WorkerList(View):
    """Workers that are alive, and those that ended in the last 10 minutes."""

    workers: list[WorkerView]


class HealthCheckView(View):
    """One thing that was looked at."""

    name: str
    healthy: bool
    message: str
    duration_ms: float


class HealthView(View):
    """How the supervisor is; `failing` names the checks that are not healthy."""

    status: str
    checks: list[HealthCheckView]
    failing: list[str]


class FaultView(View):
    """One thing that is wrong with a request; `path` is a JSON pointer into its body, or names a parameter."""

    path: str
    message: str


class ErrorBody(View):
    """What went wrong; `code` is for programs. Some codes have more keys: `faults`, `index` in a batch."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    faults: list[FaultView] | None = None


class ErrorView(View):
    """The answer to every request that was refused."""

    error: ErrorBody
