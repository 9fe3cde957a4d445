"""`/v1/schedules`: tasks that are created by the clock."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query

from tasker_actors.errors import RequestFault, invalid_request
from tasker_actors.postgres import schedules
from tasker_actors.postgres.clock import database_time
from tasker_actors.postgres.schedule_firing import fire_by_hand
from tasker_actors.postgres.scheduled_tasks import ScheduledTasks
from tasker_actors.postgres.schedules import NewSchedule, Switch
from tasker_actors.web.errors import ApiError
from tasker_actors.web.json_body import raw_body, read_body
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.openapi import accepts, answers
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.schedule_requests import ScheduleBody, ScheduleQuery, ScheduleSwitch
from tasker_actors.web.schedule_views import FiredTask, ScheduleList, ScheduleView
from tasker_actors.workflow.cron import Cron, CronError, never_fires, parse_cron
from tasker_actors.workflow.schedule import next_firings

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
_PREVIEWED = 5

ScheduleName = Annotated[str, Path(json_schema_extra={"pattern": _NAME})]


def schedule_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/schedules", tags=["schedules"])
    _add_reading(router, runtime)
    _add_changes(router, runtime)

    @router.post("/{name}/fire", status_code=HTTPStatus.CREATED, responses=answers(201, FiredTask, 400, 404, 422))
    def fire_schedule(name: ScheduleName) -> JsonResponse:
        """Create a schedule's task now, paused or not; its clock goes on as it was."""
        row = fire_by_hand(runtime.pool, _checked(name), ScheduledTasks(runtime.new_trace))
        if row is None:
            raise _unknown(name)
        runtime.tasks_created([(row.namespace, row.name)])
        return JsonResponse({"task_uuid": row.task_uuid, "correlation_id": row.correlation_id}, HTTPStatus.CREATED)

    return router


def _add_reading(router: APIRouter, runtime: Runtime) -> None:
    @router.get("", responses=answers(200, ScheduleList, 422))
    def list_schedules(query: Annotated[ScheduleQuery, Query()]) -> JsonResponse:
        """List schedules in the order of their names, without their contexts."""
        found = schedules.list_schedules(
            runtime.pool, namespace=query.namespace, after=query.cursor, limit=query.limit + 1
        )
        page = found[: query.limit]
        more = len(found) > len(page)
        return JsonResponse({"schedules": page, "next_cursor": page[-1]["name"] if more else None})

    @router.get("/{name}", responses=answers(200, ScheduleView, 400, 404))
    def get_schedule(name: ScheduleName) -> JsonResponse:
        """Return a schedule with its next five firings."""
        return JsonResponse(_shown(runtime, _checked(name)))


def _add_changes(router: APIRouter, runtime: Runtime) -> None:
    @router.put(
        "/{name}",
        openapi_extra=accepts(ScheduleBody),
        responses={**answers(200, ScheduleView, 400, 404, 422), **answers(201, ScheduleView)},
    )
    def put_schedule(name: ScheduleName, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Create a schedule or replace it; with the same expression and zone it goes on from where it is."""
        schedule = _schedule(_checked(name), read_body(raw, ScheduleBody, runtime.settings.http.max_json_depth))
        cron = _cron(schedule.cron, schedule.timezone)
        first = cron.after(database_time(runtime.pool))
        if first is None:
            raise _invalid("/cron", never_fires(schedule.cron))
        ScheduledTasks(runtime.new_trace).check(runtime.pool, schedule, first)
        created = schedules.put_schedule(runtime.pool, schedule, first)
        return JsonResponse(_shown(runtime, name), HTTPStatus.CREATED if created else HTTPStatus.OK)

    @router.patch("/{name}", openapi_extra=accepts(ScheduleSwitch), responses=answers(200, ScheduleView, 400, 404, 422))
    def switch_schedule(name: ScheduleName, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Pause a schedule, or resume it; what was due meanwhile is not made up for."""
        body = read_body(raw, ScheduleSwitch, runtime.settings.http.max_json_depth)

        def next_fire_at(found: Switch) -> datetime | None:
            return _cron(found.cron, found.timezone).after(found.now)

        if not schedules.switch_schedule(runtime.pool, _checked(name), enabled=body.enabled, next_fire_at=next_fire_at):
            raise _unknown(name)
        return JsonResponse(_shown(runtime, name))

    @router.delete("/{name}", responses=answers(200, ScheduleView, 400, 404))
    def delete_schedule(name: ScheduleName) -> JsonResponse:
        """Delete a schedule and return what it was; tasks that it created stay."""
        shown = _shown(runtime, _checked(name))
        schedules.delete_schedule(runtime.pool, name)
        return JsonResponse(shown)


def _checked(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        message = f"{name!r} is no name of a schedule: 1 to 128 letters, digits, dots, hyphens and underscores"
        raise ApiError(HTTPStatus.BAD_REQUEST, "bad_path", message)
    return name


def _schedule(name: str, body: ScheduleBody) -> NewSchedule:
    given = body.model_dump(exclude={"context", "tags"})
    return NewSchedule(name=name, context=orjson.dumps(body.context), tags=tuple(body.tags), **given)


def _cron(expression: str, timezone: str) -> Cron:
    try:
        return parse_cron(expression, timezone)
    except CronError as error:
        raise _invalid(f"/{error.key}", str(error)) from error


def _invalid(path: str, fault: str) -> Exception:
    message = f"the schedule cannot be used: {path}: {fault}"
    return invalid_request(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", message, [RequestFault(path, fault)])


def _unknown(name: str) -> ApiError:
    return ApiError(HTTPStatus.NOT_FOUND, "unknown_schedule", f"there is no schedule {name}")


def _shown(runtime: Runtime, name: str) -> dict[str, Any]:
    found = schedules.read_schedule(runtime.pool, name)
    if found is None:
        raise _unknown(name)
    schedule, _ = found
    try:
        cron = parse_cron(schedule.cron, schedule.timezone)
        times = next_firings(cron, schedule.next_fire_at, _PREVIEWED)
    except CronError:
        times = []  # of another release; its last_error has the reason once it is due
    return {**asdict(schedule), "context": orjson.Fragment(schedule.context), "next_fire_times": times}
