"""`/v1/tasks/{uuid}/summary`: all that a picture of a task needs, in one answer."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter

from tasker_actors.postgres import step_control, task_dead_letters, tasks
from tasker_actors.postgres.task_dead_letters import EntryFilter
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.openapi import answers
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.summary_views import StepFacts, TaskFacts, TaskSummaryView
from tasker_actors.web.task_ids import PathUuid, path_uuid, unknown_task
from tasker_actors.web.task_json import task_json
from tasker_actors.workflow.dead_tasks import DlqStatus
from tasker_actors.workflow.template import TaskTemplate


def summary_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoint."""
    router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

    @router.get("/{task_uuid}/summary", responses=answers(200, TaskSummaryView, 400, 404))
    def get_task_summary(task_uuid: PathUuid) -> JsonResponse:
        """Return a task with its steps, its template and its entry among the dead, without contexts and results."""
        uuid = path_uuid(task_uuid)
        record = tasks.find_task(runtime.pool, uuid)
        steps = tasks.read_steps(runtime.pool, uuid)
        if record is None or not steps:
            raise unknown_task(task_uuid)
        found = step_control.find_step(runtime.pool, uuid, steps[0]["step_uuid"])
        if found is None:
            raise unknown_task(task_uuid)
        template = step_control.read_template(runtime.pool, found.template_id)
        entries = task_dead_letters.read_entries(runtime.pool, EntryFilter(task_uuid=uuid), limit=1)
        shown = task_json(record)
        return JsonResponse(
            {
                "task": {name: shown[name] for name in TaskFacts.model_fields},
                "template": {"steps": _template_steps(template)},
                "steps": [_step(columns) for columns in steps],
                "dlq": _entry(entries[0] if entries else None),
                "links": {"task": f"/v1/tasks/{uuid}", "steps": f"/v1/tasks/{uuid}/workflow_steps", "dlq": "/v1/dlq"},
            }
        )

    return router


def _template_steps(template: TaskTemplate) -> list[dict[str, Any]]:
    return [
        {
            "name": step.name,
            "step_type": step.type,
            "handler": step.handler.callable,
            "dependencies": step.dependencies,
            "retryable": step.retry.retryable,
            "max_attempts": step.retry_policy.max_attempts,
        }
        for step in template.steps
    ]


def _step(columns: dict[str, Any]) -> dict[str, Any]:
    named = {name: columns[name] for name in StepFacts.model_fields if name != "error"}
    return {**named, "error": None if columns["error"] is None else _error(orjson.loads(columns["error"]))}


def _error(error: dict[str, Any]) -> dict[str, Any]:
    code = str(error.get("error_code") or "")
    return {
        "error_type": error.get("error_type"),
        "retryable": bool(error.get("retryable")),
        "status_code": int(code) if code.isdigit() and len(code) == len("503") else None,
    }


def _entry(entry: dict[str, Any] | None) -> dict[str, Any]:
    if entry is None:
        return {"in_dlq": False, "dlq_reason": None, "resolution_status": None}
    status = entry["resolution_status"]
    return {"in_dlq": status == DlqStatus.PENDING, "dlq_reason": entry["dlq_reason"], "resolution_status": status}
