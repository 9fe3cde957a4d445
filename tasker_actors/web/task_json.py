"""Tasks as they are shown (SPEC 8)."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from tasker_actors.postgres.tasks import TaskRecord
from tasker_actors.web.json_response import raw_json
from tasker_actors.workflow.dag import PlannedStep
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.states import StepState
from tasker_actors.workflow.summary import StepCounts, TaskSummary, summarize_counts
from tasker_actors.workflow.task_planning import NewTaskRow

UNKNOWN = "unknown"
"""Shown for what nobody said; the statement that reads tasks has the same word."""


def task_json(record: TaskRecord) -> dict[str, Any]:
    """Show a task as the database has it."""
    columns = record.columns
    omitted = columns["context"] is None
    shown = {**columns, "context": {} if omitted else raw_json(columns["context"]), "context_omitted": omitted}
    del shown["steps"]
    return {**shown, **asdict(record.summary), "steps": raw_json(columns["steps"])}


def new_task_json(row: NewTaskRow, registered: RegisteredTemplate, created_at: datetime) -> dict[str, Any]:
    """Show a task as it was created, without asking the database: its first steps can be claimed, the others wait.

    Steps of which nobody knows yet whether they will exist are not there.
    """
    return {
        "task_uuid": row.task_uuid,
        "name": row.name,
        "namespace": row.namespace,
        "version": registered.template.version,
        "created_at": created_at,
        "updated_at": created_at,
        "completed_at": None,
        "context": orjson.Fragment(row.context),
        "context_omitted": False,
        "initiator": UNKNOWN if row.initiator is None else row.initiator,
        "source_system": UNKNOWN if row.source_system is None else row.source_system,
        "reason": UNKNOWN if row.reason is None else row.reason,
        "priority": row.priority,
        "tags": row.tags,
        "correlation_id": row.correlation_id,
        "parent_correlation_id": row.parent_correlation_id,
        "start_at": row.start_at,
        "cancelled_by": None,
        "cancel_reason": None,
        **asdict(_initial_summary(registered, waits=row.start_at is not None)),
        "steps": [
            _new_step_json(row, step_uuid, step, registered, created_at)
            for step_uuid, step in zip(row.step_uuids, registered.plan, strict=True)
            if not step.conditional
        ],
    }


def named_step_uuid(template_id: int, position: int) -> str:
    """Return the id that a step of a template has in all tasks; the statements that read steps make the same one."""
    return str(UUID(hashlib.sha256(f"{template_id} {position}".encode()).hexdigest()[:32]))


def _new_step_json(
    row: NewTaskRow, step_uuid: str, step: PlannedStep, registered: RegisteredTemplate, created_at: datetime
) -> dict[str, Any]:
    state = StepState.PENDING if step.dependencies else StepState.ENQUEUED
    return {
        "step_uuid": step_uuid,
        "workflow_step_uuid": step_uuid,
        "task_uuid": row.task_uuid,
        "named_step_uuid": named_step_uuid(registered.template_id, step.position),
        "name": step.name,
        "status": state,
        "current_state": state,
        "attempts": 0,
        "max_attempts": step.max_attempts,
        "blocked": False,
        "dependencies_satisfied": not step.dependencies,
        "retry_eligible": True,
        "ready_for_execution": not step.dependencies and row.start_at is None,
        "total_parents": len(step.dependencies),
        "completed_parents": 0,
        "retry_at": None,
        "next_retry_at": None,
        "backoff_request_seconds": None,
        "last_failure_at": None,
        "last_attempted_at": None,
        "updated_at": created_at,
        "error": None,
    }


def _initial_summary(registered: RegisteredTemplate, *, waits: bool) -> TaskSummary:
    known = [step for step in registered.plan if not step.conditional]
    first = sum(not step.dependencies for step in known)
    ready = 0 if waits else first
    return summarize_counts(StepCounts(pending=len(known) - first, enqueued=first, ready=ready))
