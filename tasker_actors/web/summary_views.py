"""A task in one answer, as the original's API summarises it: names and types are its."""

from __future__ import annotations

from datetime import datetime

from tasker_actors.web.views import View
from tasker_actors.workflow.dead_tasks import DlqReason, DlqStatus
from tasker_actors.workflow.states import StepState, TaskState
from tasker_actors.workflow.step_type import StepType
from tasker_actors.workflow.summary import ExecutionStatus, HealthStatus, RecommendedAction


class TaskFacts(View):
    """The task."""

    task_uuid: str
    name: str
    namespace: str
    version: str
    status: TaskState
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    initiator: str
    source_system: str
    reason: str
    correlation_id: str
    total_steps: int
    pending_steps: int
    in_progress_steps: int
    completed_steps: int
    failed_steps: int
    completion_percentage: float
    health_status: HealthStatus
    execution_status: ExecutionStatus
    recommended_action: RecommendedAction


class TemplateStepFacts(View):
    """A step of its template, whether the task has it or not."""

    name: str
    step_type: StepType
    handler: str
    dependencies: list[str]
    retryable: bool
    max_attempts: int


class TemplateFacts(View):
    """Its template, as the task was created with it."""

    steps: list[TemplateStepFacts]


class ErrorFacts(View):
    """Of which kind the error of a step is."""

    error_type: str | None
    retryable: bool
    status_code: int | None


class StepFacts(View):
    """A step of the task."""

    step_uuid: str
    name: str
    current_state: StepState
    created_at: datetime
    completed_at: datetime | None
    last_attempted_at: datetime | None
    attempts: int
    max_attempts: int
    dependencies_satisfied: bool
    retry_eligible: bool
    error: ErrorFacts | None


class DlqFacts(View):
    """Whether the task has an entry among the dead, and the newest one."""

    in_dlq: bool
    dlq_reason: DlqReason | None
    resolution_status: DlqStatus | None


class Links(View):
    """Where there is more."""

    task: str
    steps: str
    dlq: str


class TaskSummaryView(View):
    """A task with its steps, its template and its entry among the dead."""

    task: TaskFacts
    template: TemplateFacts
    steps: list[StepFacts]
    dlq: DlqFacts
    links: Links
