"""Tasks and steps as they are shown (SPEC 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from tasker_actors.postgres.tasks import TaskRecord
from tasker_actors.web.json_response import raw_json
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.states import StepState
from tasker_actors.workflow.summary import StepCounts, TaskSummary, summarize_counts
from tasker_actors.workflow.task_planning import NewTaskRow


def task_json(record: TaskRecord) -> dict[str, Any]:
    """Show a task as the database has it."""
    columns = record.columns
    shown = {**columns, "context": raw_json(columns["context"])}
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
        "initiator": row.initiator,
        "source_system": row.source_system,
        "reason": row.reason,
        "priority": row.priority,
        "tags": row.tags,
        "correlation_id": row.correlation_id,
        "parent_correlation_id": row.parent_correlation_id,
        "start_at": row.start_at,
        **asdict(_initial_summary(registered, waits=row.start_at is not None)),
        "steps": [
            {
                "step_uuid": step_uuid,
                "name": step.name,
                "status": StepState.PENDING if step.dependencies else StepState.ENQUEUED,
                "attempts": 0,
                "max_attempts": step.max_attempts,
                "blocked": False,
                "retry_at": None,
                "updated_at": created_at,
                "error": None,
            }
            for step_uuid, step in zip(row.step_uuids, registered.plan, strict=True)
            if not step.conditional
        ],
    }


def step_json(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Show a step as the database has it."""
    return {**columns, "error": raw_json(columns["error"]), "result": raw_json(columns["result"])}


def attempt_json(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Show one attempt of a step."""
    return {**columns, "error": raw_json(columns["error"])}


def _initial_summary(registered: RegisteredTemplate, *, waits: bool) -> TaskSummary:
    known = [step for step in registered.plan if not step.conditional]
    first = sum(not step.dependencies for step in known)
    ready = 0 if waits else first
    return summarize_counts(StepCounts(pending=len(known) - first, enqueued=first, ready=ready))
