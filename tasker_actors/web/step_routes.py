"""`/v1/tasks/{uuid}/workflow_steps`: the steps of a task, their results and attempts."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from tasker_actors.postgres import tasks
from tasker_actors.postgres.session import Pool
from tasker_actors.web.errors import ApiError
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.openapi import answers
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.step_json import attempt_json, step_json
from tasker_actors.web.task_ids import PathUuid, path_uuid, unknown_task
from tasker_actors.web.views import StepDetail, StepList

_LINKS = {"get_step": {"task_uuid": "$response.body#/0/task_uuid", "step_uuid": "$response.body#/0/step_uuid"}}


def step_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/tasks/{task_uuid}/workflow_steps", tags=["tasks"])

    @router.get("", responses=answers(200, StepList, 400, 404, links=_LINKS))
    def list_steps(task_uuid: PathUuid) -> JsonResponse:
        """Return a task's steps with their results, as far as these are 4 MiB together."""
        steps = tasks.read_steps(runtime.pool, path_uuid(task_uuid))
        if steps is None:
            raise unknown_task(task_uuid)
        return JsonResponse([step_json(step) for step in steps])

    @router.get("/{step_uuid}", responses=answers(200, StepDetail, 400, 404))
    def get_step(task_uuid: PathUuid, step_uuid: PathUuid) -> JsonResponse:
        """Return a step with its result and its attempts."""
        return JsonResponse(shown_step(runtime.pool, path_uuid(task_uuid), path_uuid(step_uuid)))

    return router


def shown_step(pool: Pool, task_uuid: str, step_uuid: str) -> dict[str, Any]:
    """Show a step with its result and its attempts; raises ApiError 404."""
    steps = tasks.read_steps(pool, task_uuid, step_uuid)
    if not steps:
        raise unknown_step(pool, task_uuid, step_uuid)
    attempts = tasks.read_attempts(pool, task_uuid, step_uuid)
    return {**step_json(steps[0]), "attempt_history": [attempt_json(attempt) for attempt in attempts]}


def unknown_step(pool: Pool, task_uuid: str, step_uuid: str) -> ApiError:
    """Say that there is no such task, or that it has no such step."""
    if tasks.find_task(pool, task_uuid) is None:
        return unknown_task(task_uuid)
    return ApiError(HTTPStatus.NOT_FOUND, "unknown_step", f"task {task_uuid} has no step {step_uuid}")
