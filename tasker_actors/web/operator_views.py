"""What clients get who act on steps and tasks. Names and types are those of the original's API."""

from __future__ import annotations

from typing import Any

from pydantic import RootModel

from tasker_actors.web.views import View
from tasker_actors.workflow.dead_tasks import DlqReason, DlqStatus
from tasker_actors.workflow.step_action import StepAction


class StepAuditView(View):
    """One thing that became of a step: an attempt's result, or what a person did (`action` is set then)."""

    audit_uuid: str
    workflow_step_uuid: str
    transition_uuid: str
    task_uuid: str
    recorded_at: str
    worker_uuid: str | None
    correlation_id: str | None
    success: bool
    execution_time_ms: int | None
    result: Any
    step_name: str
    from_state: str | None
    to_state: str
    action: StepAction | None
    performed_by: str | None
    reason: str | None
    metadata: Any


class StepAuditList(RootModel[list[StepAuditView]]):
    """What became of a step, in order."""


class ResetTask(View):
    """A task of which failed steps run again."""

    task_uuid: str
    reset_steps: int


class ResetTasks(View):
    """Tasks of a batch; the next one begins after `next_after`, null after the last."""

    tasks: list[ResetTask]
    next_after: str | None


class DlqEntryView(View):
    """A dead letter of a task. Times are UTC and written without a zone, as in the original."""

    dlq_entry_uuid: str
    task_uuid: str
    original_state: str
    dlq_reason: DlqReason
    dlq_timestamp: str
    resolution_status: DlqStatus
    resolution_timestamp: str | None
    resolution_notes: str | None
    resolved_by: str | None
    task_snapshot: dict[str, Any]
    metadata: Any
    created_at: str
    updated_at: str


class DlqEntryList(RootModel[list[DlqEntryView]]):
    """Entries, the newest first."""


class DlqStatsView(View):
    """How many entries there are for a reason."""

    dlq_reason: DlqReason
    total_entries: int
    pending: int
    manually_resolved: int
    permanent_failures: int
    cancelled: int
    oldest_entry: str | None
    newest_entry: str | None
    avg_resolution_time_minutes: float | None


class DlqStatsList(RootModel[list[DlqStatsView]]):
    """Entries by reason."""


class InvestigationView(View):
    """An entry that is pending, with what its task does now."""

    dlq_entry_uuid: str
    task_uuid: str
    original_state: str
    dlq_reason: DlqReason
    dlq_timestamp: str
    minutes_in_dlq: float
    namespace_name: str | None
    task_name: str | None
    current_state: str | None
    time_in_state_minutes: int | None
    priority_score: float


class InvestigationList(RootModel[list[InvestigationView]]):
    """Pending entries, the most pressing first."""


class StalenessView(View):
    """How long an open task has stood still, and how long it may."""

    task_uuid: str
    namespace_name: str | None
    task_name: str | None
    current_state: str
    time_in_state_minutes: int
    task_age_minutes: int
    staleness_threshold_minutes: int
    health_status: str
    priority: int


class StalenessList(RootModel[list[StalenessView]]):
    """Open tasks, those first that have stood still longest by what they may."""


class InvestigationUpdated(View):
    """What was written into an entry stands there."""

    success: bool
    message: str
    dlq_entry_uuid: str
