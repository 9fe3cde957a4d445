"""What clients get who ask how long things take. Names and types are those of the original's API."""

from __future__ import annotations

from datetime import datetime

from pydantic import create_model

from tasker_actors.web.views import View
from tasker_actors.workflow.states import StepState, TaskState

TASK_STATES = (
    TaskState.PENDING, "initializing", "enqueuing_steps", "steps_in_process", "evaluating_results",
    "waiting_for_dependencies", TaskState.WAITING_FOR_RETRY, TaskState.BLOCKED_BY_FAILURES, TaskState.COMPLETE,
    TaskState.ERROR, TaskState.CANCELLED, TaskState.RESOLVED_MANUALLY,
)  # fmt: skip
"""States of a task that the original knows; a task that runs is in `steps_in_process`."""

STEP_STATES = (*StepState, "enqueued_for_orchestration", "enqueued_as_error_for_orchestration")
"""States of a step that the original knows."""

SYSTEM_COUNTS = (
    *(f"{state}_tasks" for state in TASK_STATES), "total_tasks",
    *(f"{state}_steps" for state in STEP_STATES), "total_steps",
)  # fmt: skip


class PerformanceView(View):
    """How tasks and steps went that were created in a period. Rates are parts of 1."""

    total_tasks: int
    active_tasks: int
    completed_tasks: int
    failed_tasks: int
    completion_rate: float
    error_rate: float
    average_task_duration_seconds: float
    average_step_duration_seconds: float
    tasks_per_hour: int
    steps_per_hour: int
    system_health_score: float
    analysis_period_start: datetime
    calculated_at: datetime


class SlowTaskView(View):
    """A template whose tasks take long."""

    namespace_name: str
    task_name: str
    version: str
    average_duration_seconds: float
    max_duration_seconds: float
    execution_count: int
    average_step_count: float
    error_count: int
    error_rate: float
    last_executed_at: datetime | None


class SlowStepView(View):
    """A step of a template that takes long."""

    namespace_name: str
    task_name: str
    version: str
    step_name: str
    average_duration_seconds: float
    max_duration_seconds: float
    execution_count: int
    error_count: int
    error_rate: float
    last_executed_at: datetime | None


SystemCounts = create_model(
    "SystemCounts",
    __base__=View,
    __doc__="How many tasks and steps are in which state.",
    **dict.fromkeys(SYSTEM_COUNTS, (int, ...)),  # type: ignore[call-overload]  # fields by name
)


class ResourceUtilization(View):
    """How much of the connections is used, as a part of 1, and what there is."""

    database_pool_utilization: float
    system_health: SystemCounts  # type: ignore[valid-type]  # a model that is made of the states


class BottleneckView(View):
    """What takes longest in the newest tasks, the slowest first, and what could be done."""

    slow_steps: list[SlowStepView]
    slow_tasks: list[SlowTaskView]
    resource_utilization: ResourceUtilization
    recommendations: list[str]
