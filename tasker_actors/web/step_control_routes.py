"""What people do to steps and failed tasks over HTTP, and the record of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends

from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.events.json_size import stored_bytes
from tasker_actors.postgres import step_control
from tasker_actors.postgres.step_control import Decision, FailedTasks, FoundStep, Resolution
from tasker_actors.steps.completion import DECIDING, completed_by_hand
from tasker_actors.web.children import cancel_children
from tasker_actors.web.errors import ApiError
from tasker_actors.web.json_body import raw_body, read_body
from tasker_actors.web.json_response import JsonResponse, raw_json
from tasker_actors.web.openapi import accepts, answers
from tasker_actors.web.operator_views import ResetTask, ResetTasks, StepAuditList
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.step_control_requests import FailedTasksBody, StepControl, TaskResetBody
from tasker_actors.web.step_routes import shown_step, unknown_step
from tasker_actors.web.task_ids import PathUuid, path_uuid, unknown_task
from tasker_actors.web.views import StepDetail
from tasker_actors.workflow.outcome_fault import OutcomeFault
from tasker_actors.workflow.step_action import StepAction

_REFUSALS = {
    "step_finished": "step {name} is {state}: what is finished stays as it is",
    "step_running": "step {name} is running: wait for its attempt to end, or cancel the task",
    "step_enqueued": "step {name} waits to run already: there is nothing to reset",
    "step_waits": "step {name} waits for others: act on {for}",
    "task_finished": "the task is {status}: nothing of it runs any more",
    "failure_tolerated": "step {name} failed in a batch that goes on without it, so its failure has counted as done",
}


def step_control_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/tasks", tags=["operators"])
    step = "/{task_uuid}/workflow_steps/{step_uuid}"

    @router.patch(step, openapi_extra=accepts(StepControl), responses=answers(200, StepDetail, 400, 404, 409, 422))
    def control_step(
        task_uuid: PathUuid, step_uuid: PathUuid, raw: Annotated[bytes, Depends(raw_body)]
    ) -> JsonResponse:
        """Reset, resolve or complete a step by hand, with all that follows from it."""
        body = read_body(raw, StepControl, runtime.settings.http.max_json_depth)
        task, step = path_uuid(task_uuid), path_uuid(step_uuid)
        found = step_control.find_step(runtime.pool, task, step)
        resolution = None
        if found is not None:
            decision = _decision(runtime, body, found)
            try:
                resolution = step_control.resolve_step(runtime.pool, task, step, decision)
            except step_control.TooManyStepsError as error:
                raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "too_many_steps", str(error)) from error
        if resolution is None or resolution.refused == "unknown_step":
            raise unknown_step(runtime.pool, task, step)
        _refuse(resolution)
        if resolution.released:
            runtime.work_released()
        if resolution.finished is not None:
            runtime.task_finished(resolution)
        cancel_children(runtime)
        return JsonResponse(shown_step(runtime.pool, task, step))

    @router.get(f"{step}/audit", responses=answers(200, StepAuditList, 400, 404))
    def list_audits(task_uuid: PathUuid, step_uuid: PathUuid) -> JsonResponse:
        """Return what a step's attempts came to and what people did to it, the last 1,000 in order."""
        task, step = path_uuid(task_uuid), path_uuid(step_uuid)
        if step_control.find_step(runtime.pool, task, step) is None:
            raise unknown_step(runtime.pool, task, step)
        found = step_control.read_audits(runtime.pool, task, step)
        return JsonResponse([_audit_json(record) for record in found])

    _add_resets(router, runtime)
    return router


def _add_resets(router: APIRouter, runtime: Runtime) -> None:
    @router.post("/reset", openapi_extra=accepts(FailedTasksBody), responses=answers(200, ResetTasks, 400, 422))
    def reset_tasks(raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Let the failed steps of failed tasks run again: a batch of those that a filter finds."""
        body = read_body(raw, FailedTasksBody, runtime.settings.http.max_json_depth)
        failed_after, failed_before = body.ages
        wanted = FailedTasks(body.namespace, body.name, body.error_type, failed_before, failed_after, body.after)
        limit = runtime.settings.dlq.max_reset_tasks
        found = step_control.find_failed_tasks(runtime.pool, wanted, limit)
        reset: list[dict[str, Any]] = []
        try:
            for task_uuid in found:
                done = step_control.reset_task(runtime.pool, task_uuid, by=body.reset_by, reason=body.reason)
                if done is not None and done.steps:
                    reset.append({"task_uuid": task_uuid, "reset_steps": done.steps})
        finally:
            if reset:
                runtime.work_released()
        return JsonResponse({"tasks": reset, "next_after": found[-1] if len(found) == limit else None})

    @router.post(
        "/{task_uuid}/reset",
        openapi_extra=accepts(TaskResetBody),
        responses=answers(200, ResetTask, 400, 404, 409, 422),
    )
    def reset_task(task_uuid: PathUuid, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Let every step of a task run again that failed for good."""
        body = read_body(raw, TaskResetBody, runtime.settings.http.max_json_depth)
        task = path_uuid(task_uuid)
        done = step_control.reset_task(runtime.pool, task, by=body.reset_by, reason=body.reason)
        if done is None:
            raise unknown_task(task_uuid)
        if not done.steps:
            message = f"the task is {done.status}, and has no failed step that could run again"
            raise ApiError(HTTPStatus.CONFLICT, "nothing_failed", message, task_status=done.status)
        runtime.work_released()
        return JsonResponse({"task_uuid": task, "reset_steps": done.steps})


def _decision(runtime: Runtime, body: StepControl, found: FoundStep) -> Decision:
    data = body.completion_data
    result = metadata = None
    if data is not None:
        result = _result(data.result, runtime.settings.worker.max_result_bytes)
        metadata = None if data.metadata is None else orjson.dumps(data.metadata)
    dynamic: dict[str, Any] = {}
    if found.kind in DECIDING and body.action_type is not StepAction.RESET_FOR_RETRY:
        template = step_control.read_template(runtime.pool, found.template_id)
        try:
            dynamic = completed_by_hand(template, found.name, result, runtime.settings.dynamic_limits)
        except OutcomeFault as fault:
            faults = [{"path": "/completion_data/result", "message": str(fault)}]
            raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, fault.error_type, str(fault), faults=faults) from fault
    return Decision(
        action=body.action_type,
        by=body.by,
        reason=body.reason,
        metadata=metadata,
        result=result,
        result_bytes=0 if result is None else stored_bytes(result),
        dynamic=dynamic,
    )


def _result(value: Any, max_bytes: int) -> bytes:
    try:
        return encode_payload(value, max_bytes=max_bytes)
    except PayloadError as error:
        message = f"the result cannot be stored: {error}"
        faults = [{"path": f"/completion_data/result{error.path}", "message": str(error)}]
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, message, faults=faults) from error


def _refuse(resolution: Resolution) -> None:
    if resolution.refused is None:
        return
    details = {**resolution.details, "for": " and ".join(resolution.details.get("for", ())) or "its dependencies"}
    message = _REFUSALS[resolution.refused].format_map(details)
    raise ApiError(
        HTTPStatus.CONFLICT, resolution.refused, message, step_state=details["state"], task_status=details["status"]
    )


def _audit_json(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "result": raw_json(record["result"]), "metadata": raw_json(record["metadata"])}
