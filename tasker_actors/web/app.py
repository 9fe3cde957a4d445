"""The application behind the port: every endpoint of SPEC 8, and the guard around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp

from tasker_actors.release import release
from tasker_actors.web.analytics_routes import analytics_routes
from tasker_actors.web.dead_letter_routes import dead_letter_routes
from tasker_actors.web.dlq_requests import DlqUpdate, NewDlqEntry
from tasker_actors.web.dlq_routes import dlq_routes
from tasker_actors.web.errors import exception_handlers
from tasker_actors.web.event_requests import NewEvent, RedriveBody
from tasker_actors.web.event_routes import event_routes
from tasker_actors.web.guard import Guard
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.limit_routes import limit_routes
from tasker_actors.web.openapi import describe
from tasker_actors.web.parameters import refuse_parameters
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.schedule_requests import ScheduleBody, ScheduleSwitch
from tasker_actors.web.schedule_routes import schedule_routes
from tasker_actors.web.status_routes import status_routes
from tasker_actors.web.step_control_requests import FailedTasksBody, StepControl, TaskResetBody
from tasker_actors.web.step_control_routes import step_control_routes
from tasker_actors.web.step_routes import step_routes
from tasker_actors.web.summary_routes import summary_routes
from tasker_actors.web.task_routes import task_routes
from tasker_actors.web.template_routes import template_routes
from tasker_actors.workflow.task_requests import NewTask, NewTasks

THREADS = 16
"""Requests that may block on the database at the same time; others wait in the loop, where that costs nothing."""

_BODY_MODELS = (
    NewTask,
    NewTasks,
    NewEvent,
    RedriveBody,
    StepControl,
    TaskResetBody,
    FailedTasksBody,
    NewDlqEntry,
    DlqUpdate,
    ScheduleBody,
    ScheduleSwitch,
)


def create_app(runtime: Runtime, more_routes: Sequence[APIRouter] = ()) -> ASGIApp:
    """Return the whole ASGI application; opens nothing and starts nothing. `more_routes` come before its own."""
    app = FastAPI(
        title="tasker_actors",
        description="Tasks, their steps and their domain events.",
        version=release(),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,  # what links of the document name
        exception_handlers=exception_handlers(),
        lifespan=_bound_threads,
        # FastAPI can instrument itself. Our spans and metrics are those of SPEC 4, made elsewhere.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    # /v1/events/dlq comes before anything that could take its name for a part of /v1/events.
    for router in more_routes:
        app.include_router(router)
    for router in (
        task_routes(runtime),
        summary_routes(runtime),
        step_routes(runtime),
        step_control_routes(runtime),
        dlq_routes(runtime),
        schedule_routes(runtime),
        dead_letter_routes(runtime),
        event_routes(runtime),
        template_routes(runtime),
        analytics_routes(runtime),
        status_routes(runtime),
        limit_routes(runtime),
    ):
        app.include_router(router, dependencies=[Depends(refuse_parameters)])
    _add_document(app)
    return Guard(app, runtime)


@asynccontextmanager
async def _bound_threads(_app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def _add_document(app: FastAPI) -> None:
    @cache
    def document() -> dict[str, Any]:
        return describe(app, _BODY_MODELS)

    @app.get("/api-docs/openapi.json", include_in_schema=False)
    @app.get("/api-docs", include_in_schema=False)
    def get_document() -> JsonResponse:
        """Return the OpenAPI document."""
        return JsonResponse(document())
