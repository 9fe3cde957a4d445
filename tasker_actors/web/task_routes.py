"""`/v1/tasks`: created, listed, looked at, cancelled.

Endpoints that are no coroutines run in the thread pool, so they may block on the database.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from tasker_actors.postgres import task_list, tasks
from tasker_actors.postgres.clock import database_time
from tasker_actors.web.children import cancel_children
from tasker_actors.web.errors import ApiError
from tasker_actors.web.json_body import raw_body, read_body
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.openapi import accepts, answers
from tasker_actors.web.request_context import RequestContext, request_context
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.task_ids import PathUuid, path_uuid, unknown_task
from tasker_actors.web.task_json import new_task_json, task_json
from tasker_actors.web.views import CreatedTasks, TaskList, TaskView
from tasker_actors.workflow.states import TaskState
from tasker_actors.workflow.task_planning import Origin, PlannedTask, plan_task, plan_tasks, task_exists
from tasker_actors.workflow.task_requests import PER_PAGE, CancelQuery, NewTask, NewTasks, TaskQuery
from tasker_actors.workflow.task_start import are_delayed, with_starts

_OF_TASK = {"task_uuid": "$response.body#/task_uuid"}
_LINKS = {"get_task": _OF_TASK, "list_steps": _OF_TASK, "cancel_task": _OF_TASK}
_PAGING = {"page", "per_page", "limit", "cursor"}


def task_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/tasks", tags=["tasks"])
    _add_creation(router, runtime)
    _add_reading(router, runtime)

    @router.delete("/{task_uuid}", responses=answers(200, TaskView, 400, 404, 409))
    def cancel_task(task_uuid: PathUuid, said: Annotated[CancelQuery, Query()]) -> JsonResponse:
        """Cancel a task, and those that its steps wait for: what runs is told, what waits never runs.

        Cancelling it again changes nothing: who did it first, and why, is kept.
        """
        uuid = path_uuid(task_uuid)
        cancellation = tasks.cancel_task(runtime.pool, uuid, by=said.cancelled_by, reason=said.reason)
        if cancellation is None:
            raise unknown_task(task_uuid)
        if cancellation.cancelled:
            runtime.task_cancelled(cancellation)
            cancel_children(runtime)
        elif cancellation.status != TaskState.CANCELLED:
            message = f"the task is finished: its status is {cancellation.status}"
            raise ApiError(HTTPStatus.CONFLICT, "task_finished", message, task_status=cancellation.status)
        return JsonResponse(task_json(_found(runtime, uuid)))

    return router


def _add_creation(router: APIRouter, runtime: Runtime) -> None:
    @router.post(
        "",
        status_code=HTTPStatus.CREATED,
        openapi_extra=accepts(NewTask),
        responses=answers(201, TaskView, 400, 404, 409, 422, links=_LINKS),
    )
    def create_task(request: Request, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Create a task; its first steps can be claimed at once, or when it is to start."""
        context = request_context(request)
        new = read_body(raw, NewTask, runtime.settings.http.max_json_depth)
        (planned,) = _started([plan_task(new, runtime, _origin(context, runtime))], [new], runtime)
        try:
            created_at = tasks.create_tasks(runtime.pool, [planned.row])
        except tasks.IdentityTakenError as error:
            raise task_exists(None) from error
        runtime.tasks_created([(planned.row.namespace, planned.row.name)])
        context.trace = planned.trace
        context.correlation_id = planned.row.correlation_id
        return JsonResponse(new_task_json(planned.row, planned.registered, created_at), HTTPStatus.CREATED)

    @router.post(
        "/batch",
        status_code=HTTPStatus.CREATED,
        openapi_extra=accepts(NewTasks),
        responses=answers(201, CreatedTasks, 400, 404, 409, 422),
    )
    def create_tasks(request: Request, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Create up to 1,000 tasks in one transaction, all or none."""
        new = read_body(raw, NewTasks, runtime.settings.http.max_json_depth).tasks
        planned = _started(plan_tasks(new, runtime, _origin(request_context(request), runtime)), new, runtime)
        try:
            tasks.create_tasks(runtime.pool, [each.row for each in planned])
        except tasks.IdentityTakenError as error:
            raise task_exists(error.index) from error
        runtime.tasks_created([(each.row.namespace, each.row.name) for each in planned])
        created = [{"task_uuid": each.row.task_uuid, "correlation_id": each.row.correlation_id} for each in planned]
        return JsonResponse({"tasks": created}, HTTPStatus.CREATED)


def _add_reading(router: APIRouter, runtime: Runtime) -> None:
    @router.get("", responses=answers(200, TaskList, 422))
    def list_tasks(query: Annotated[TaskQuery, Query()]) -> JsonResponse:
        """List tasks, the newest first: the page of a number, or with `limit` and `cursor` one page after the other."""
        wanted = task_list.TaskFilter(below=query.cursor, **query.model_dump(exclude=_PAGING))
        if query.by_cursor:
            return _page_json(task_list.list_tasks(runtime.pool, wanted, query.limit or PER_PAGE), None)
        number, per_page = query.page or 1, query.per_page or PER_PAGE
        page = task_list.numbered_page(runtime.pool, wanted, number, per_page)
        return _page_json(page, _pagination(page, number, per_page))

    @router.get("/{task_uuid}", responses=answers(200, TaskView, 400, 404))
    def get_task(task_uuid: PathUuid) -> JsonResponse:
        """Return a task as it is now."""
        return JsonResponse(task_json(_found(runtime, path_uuid(task_uuid))))


def _started(planned: list[PlannedTask], requests: Sequence[NewTask], runtime: Runtime) -> list[PlannedTask]:
    """Return tasks with their starts; asks the database for its time only if one is to wait."""
    return with_starts(planned, requests, database_time(runtime.pool)) if are_delayed(requests) else planned


def _origin(context: RequestContext, runtime: Runtime) -> Origin:
    """Return what the tasks of a request are created under."""
    return Origin(context.caller, context.given_correlation_id, runtime.new_trace)


def _page_json(page: task_list.TaskPage, pagination: dict[str, Any] | None) -> JsonResponse:
    shown = [task_json(each) for each in page.tasks]
    return JsonResponse({"tasks": shown, "next_cursor": page.next_below, "pagination": pagination})


def _pagination(page: task_list.NumberedPage, number: int, per_page: int) -> dict[str, Any]:
    return {
        "page": number,
        "per_page": per_page,
        "total_count": page.total,
        "total_pages": math.ceil(page.total / per_page),
        "has_next": page.next_below is not None,
        "has_previous": number > 1,
        "is_exact": page.is_exact,
    }


def _found(runtime: Runtime, task_uuid: PathUuid) -> tasks.TaskRecord:
    record = tasks.find_task(runtime.pool, task_uuid)
    if record is None:
        raise unknown_task(task_uuid)
    return record
