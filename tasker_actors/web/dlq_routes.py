"""`/v1/dlq`: dead letters of tasks, for those who look into what failed or stands still."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query

from tasker_actors.postgres import task_dead_letters
from tasker_actors.postgres.task_dead_letters import EntryFilter, Investigation
from tasker_actors.web.dlq_requests import DlqLimit, DlqQuery, DlqUpdate, NewDlqEntry
from tasker_actors.web.errors import ApiError
from tasker_actors.web.json_body import raw_body, read_body
from tasker_actors.web.json_response import JsonResponse, raw_json
from tasker_actors.web.openapi import accepts, answers
from tasker_actors.web.operator_views import (
    DlqEntryList,
    DlqEntryView,
    DlqStatsList,
    InvestigationList,
    InvestigationUpdated,
    StalenessList,
)
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.task_ids import PathUuid, path_uuid, unknown_task


def dlq_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/dlq", tags=["dead tasks"])
    _add_entries(router, runtime)
    _add_overviews(router, runtime)
    return router


def _add_entries(router: APIRouter, runtime: Runtime) -> None:
    @router.get("", responses=answers(200, DlqEntryList, 422))
    def list_dlq_entries(query: Annotated[DlqQuery, Query()]) -> JsonResponse:
        """List entries, the newest first."""
        wanted = EntryFilter(status=query.resolution_status)
        found = task_dead_letters.read_entries(runtime.pool, wanted, limit=query.limit, offset=query.offset)
        return JsonResponse([_entry_json(entry) for entry in found])

    @router.get("/task/{task_uuid}", responses=answers(200, DlqEntryView, 400, 404))
    def get_dlq_entry_of_task(task_uuid: PathUuid) -> JsonResponse:
        """Return a task's newest entry."""
        found = task_dead_letters.read_entries(runtime.pool, EntryFilter(task_uuid=path_uuid(task_uuid)), limit=1)
        if not found:
            raise ApiError(HTTPStatus.NOT_FOUND, "unknown_entry", f"task {task_uuid} has no entry")
        return JsonResponse(_entry_json(found[0]))

    @router.post(
        "/task/{task_uuid}",
        status_code=HTTPStatus.CREATED,
        openapi_extra=accepts(NewDlqEntry),
        responses=answers(201, DlqEntryView, 400, 404, 409, 422),
    )
    def create_dlq_entry(task_uuid: PathUuid, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Make an entry for a task, whatever its state; the task itself is left alone."""
        body = read_body(raw, NewDlqEntry, runtime.settings.http.max_json_depth)
        metadata = {**body.metadata, "sent_by": body.sent_by, "reason": body.reason}
        task = path_uuid(task_uuid)
        made = task_dead_letters.enter_task(runtime.pool, task, reason=body.dlq_reason, metadata=metadata)
        if made is None:
            raise unknown_task(task_uuid)
        if made.dlq_entry_uuid is None:
            message = f"task {task_uuid} has an entry that is pending: write into that"
            raise ApiError(HTTPStatus.CONFLICT, "entry_exists", message)
        return JsonResponse(_entry(runtime, made.dlq_entry_uuid), HTTPStatus.CREATED)

    @router.get("/entry/{dlq_entry_uuid}", responses=answers(200, DlqEntryView, 400, 404))
    def get_dlq_entry(dlq_entry_uuid: PathUuid) -> JsonResponse:
        """Return an entry."""
        return JsonResponse(_entry(runtime, path_uuid(dlq_entry_uuid)))

    @router.patch(
        "/entry/{dlq_entry_uuid}",
        openapi_extra=accepts(DlqUpdate),
        responses=answers(200, InvestigationUpdated, 400, 404, 409, 422),
    )
    def update_dlq_entry(dlq_entry_uuid: PathUuid, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Write down how far an investigation is; closing it does nothing to the task."""
        body = read_body(raw, DlqUpdate, runtime.settings.http.max_json_depth)
        metadata = None if body.metadata is None else orjson.dumps(body.metadata)
        update = Investigation(body.resolution_status, body.resolution_notes, body.resolved_by, metadata)
        entry = path_uuid(dlq_entry_uuid)
        closed = task_dead_letters.update_entry(runtime.pool, entry, update)
        if closed == "unknown":
            raise _unknown_entry(entry)
        if closed is not None:
            message = f"the entry is closed: its resolution_status is {closed}"
            raise ApiError(HTTPStatus.CONFLICT, "entry_closed", message, resolution_status=closed)
        return JsonResponse({"success": True, "message": "Investigation updated", "dlq_entry_uuid": entry})


def _add_overviews(router: APIRouter, runtime: Runtime) -> None:
    @router.get("/stats", responses=answers(200, DlqStatsList))
    def get_dlq_stats() -> JsonResponse:
        """Count entries by reason."""
        return JsonResponse([_naive(row) for row in task_dead_letters.entry_figures(runtime.pool)])

    @router.get("/investigation-queue", responses=answers(200, InvestigationList, 422))
    def list_investigations(query: Annotated[DlqLimit, Query()]) -> JsonResponse:
        """List what should be looked at, the most pressing first."""
        found = task_dead_letters.investigation_queue(runtime.pool, limit=query.limit)
        return JsonResponse([_naive(row) for row in found])

    @router.get("/staleness", responses=answers(200, StalenessList, 422))
    def list_staleness(query: Annotated[DlqLimit, Query()]) -> JsonResponse:
        """List open tasks by how long they have stood still, before they get an entry."""
        limits = task_dead_letters.staleness_limits(runtime.settings.dlq)
        return JsonResponse(task_dead_letters.staleness(runtime.pool, limits, limit=query.limit))


def _entry(runtime: Runtime, dlq_entry_uuid: str) -> dict[str, Any]:
    found = task_dead_letters.read_entries(runtime.pool, EntryFilter(dlq_entry_uuid=dlq_entry_uuid), limit=1)
    if not found:
        raise _unknown_entry(dlq_entry_uuid)
    return _entry_json(found[0])


def _unknown_entry(dlq_entry_uuid: str) -> ApiError:
    return ApiError(HTTPStatus.NOT_FOUND, "unknown_entry", f"there is no entry {dlq_entry_uuid}")


def _entry_json(row: dict[str, Any]) -> dict[str, Any]:
    shown = {"task_snapshot": raw_json(row["task_snapshot"]), "metadata": raw_json(row["metadata"])}
    return _naive({**row, **shown})


def _naive(row: dict[str, Any]) -> dict[str, Any]:
    """Write times in UTC without a zone: the original's clients read no other form here."""
    return {
        key: value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") if isinstance(value, datetime) else value
        for key, value in row.items()
    }
