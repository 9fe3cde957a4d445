"""`/v1/limits`: how much of each limit is in use, and who waits for a place."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from tasker_actors.postgres import limits
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.openapi import answers
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.views import View
from tasker_actors.workflow.limits import LimitKind, LimitScope
from tasker_actors.workflow.request_model import ApiModel, Text


class LimitQuery(ApiModel):
    """Which limits to list."""

    namespace: Text | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class LimitView(View):
    """A key of a limit: for a field of the context the field and one of its values, else both null.

    `in_use` counts leases, for a rate the steps that were leased in its last period. `opens_at` is when an exhausted
    rate lets the next step go.
    """

    namespace: str
    scope: LimitScope
    name: str
    kind: LimitKind
    field: str | None
    value: str | None
    limit: int
    period_seconds: int | None
    in_use: int
    parked: int
    opens_at: datetime | None


class LimitList(View):
    """Those first for which most steps are parked; a field's values only while something is in use or parked."""

    limits: list[LimitView]


def limit_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoint."""
    router = APIRouter(tags=["status"])

    @router.get("/v1/limits", responses=answers(200, LimitList, 422))
    def list_limits(query: Annotated[LimitQuery, Query()]) -> JsonResponse:
        """List limits by key: what is in use, and how many steps wait for a place."""
        found = limits.list_limits(runtime.pool, namespace=query.namespace, limit=query.limit)
        return JsonResponse({"limits": found})

    return router
