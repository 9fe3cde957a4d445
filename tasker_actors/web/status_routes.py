"""How the system is: health, metrics, configuration and workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Header
from starlette.responses import Response

from tasker_actors.postgres.worker_list import list_workers
from tasker_actors.stats.exposition import (
    OPENMETRICS_CONTENT_TYPE,
    TEXT_CONTENT_TYPE,
    openmetrics_text,
    prometheus_text,
)
from tasker_actors.stats.figures import Figures
from tasker_actors.web.config_json import config_json
from tasker_actors.web.errors import error_response
from tasker_actors.web.health_json import detailed_health_json, health_json
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.metrics_format import MetricsFormat, preferred_format
from tasker_actors.web.openapi import answers
from tasker_actors.web.runtime import HealthCheck, HealthReport, Runtime
from tasker_actors.web.status_views import (
    ConfigView,
    EventStats,
    HealthDetail,
    HealthView,
    UnhealthyDetail,
    UnhealthyView,
    WorkerList,
)
from tasker_actors.web.views import ErrorView

PROBE_TIMEOUT_S = 5.0
_FORMATS = (TEXT_CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE)
_AS_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in _FORMATS}},
    503: {"model": ErrorView},
}
_PROBE_THREADS = 8

_Answer = TypeVar("_Answer")


class ProbeThreads:
    """Threads of their own for probes and scrapes: a slow database that holds all others must not silence them."""

    def __init__(self) -> None:
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, question: Callable[[], _Answer]) -> _Answer:
        """Ask in a thread; raises TimeoutError after 5 s, and the thread is left to itself."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_PROBE_THREADS)  # belongs to the loop that runs by now
        with anyio.fail_after(PROBE_TIMEOUT_S):
            return await anyio.to_thread.run_sync(question, abandon_on_cancel=True, limiter=self._limiter)


def status_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["status"])
    _add_health(router, runtime, threads := ProbeThreads())
    _add_metrics(router, runtime, threads)

    @router.get("/config", responses=answers(200, ConfigView))
    def get_config() -> JsonResponse:
        """Return the configuration that the supervisor was started with, secrets masked."""
        return JsonResponse(config_json(runtime))

    @router.get("/v1/workers", responses=answers(200, WorkerList))
    def get_workers() -> JsonResponse:
        """List the workers of every supervisor on this database."""
        return JsonResponse({"workers": list_workers(runtime.pool)})

    return router


def _add_health(router: APIRouter, runtime: Runtime, threads: ProbeThreads) -> None:
    began = time.monotonic()

    def detailed(report: HealthReport, figures: Figures | None) -> dict[str, Any]:
        return detailed_health_json(report, runtime, time.monotonic() - began, figures)

    @router.get("/health", responses=answers(200, HealthView, other={503: UnhealthyView}))
    async def get_health() -> JsonResponse:
        """Return every check; 503 if the supervisor is not alive."""
        report = await _report(runtime, threads)
        return _health_response(report, health_json(report, runtime.supervisor_id), good=report.live)

    @router.get("/health/live", responses=answers(200, HealthView, other={503: UnhealthyView}))
    async def get_liveness() -> JsonResponse:
        """Say whether the supervisor is alive; 503 if only a restart would help. The database plays no part in it."""
        check = await threads.run(runtime.liveness)
        report = HealthReport(check.healthy, check.healthy, (check,))
        return _health_response(report, health_json(report, runtime.supervisor_id), good=check.healthy)

    @router.get("/health/ready", responses=answers(200, HealthDetail, other={503: UnhealthyDetail}))
    async def get_readiness() -> JsonResponse:
        """Say whether requests and work can be taken now; 503 with the failing checks named."""
        report = await _report(runtime, threads)
        return _health_response(report, detailed(report, None), good=report.ready)

    @router.get("/health/detailed", responses=answers(200, HealthDetail, other={503: UnhealthyDetail}))
    async def get_detailed_health() -> JsonResponse:
        """Return every check by each of its names, and how full everything is; 503 if the supervisor is not alive."""
        report = await _report(runtime, threads)
        try:
            figures = await threads.run(runtime.figures)
        except TimeoutError:
            figures = None
        return _health_response(report, detailed(report, figures), good=report.live)


async def _report(runtime: Runtime, threads: ProbeThreads) -> HealthReport:
    """Ask for all checks; where they hang, what is known without them."""
    try:
        return await threads.run(runtime.health)
    except TimeoutError:
        duration_ms = PROBE_TIMEOUT_S * 1000
        late = HealthCheck("checks", healthy=False, message="no answer in time", duration_ms=duration_ms)
        alive = await threads.run(runtime.liveness)
        return HealthReport(live=alive.healthy, ready=False, checks=(alive, late))


def _add_metrics(router: APIRouter, runtime: Runtime, threads: ProbeThreads) -> None:
    async def answer(question: Callable[[], Response]) -> Response:
        try:
            return await threads.run(question)
        except TimeoutError:
            message = "the figures could not be read in time"
            return error_response(HTTPStatus.SERVICE_UNAVAILABLE, "metrics_unavailable", message)

    @router.get("/metrics", response_class=Response, responses=_AS_TEXT)
    async def get_metrics(accept: Annotated[str | None, Header(include_in_schema=False)] = None) -> Response:
        """Return every figure as Prometheus text, or as OpenMetrics where the Accept header prefers it."""
        return await answer(lambda: _metrics_response(runtime, preferred_format(accept)))

    @router.get("/metrics/events", responses=answers(200, EventStats))
    async def get_event_stats() -> Response:
        """Return the counters of the event router and the in-process bus, summed and by worker."""
        return await answer(lambda: JsonResponse(runtime.event_stats()))


def _metrics_response(runtime: Runtime, wanted: MetricsFormat) -> Response:
    # As a header and not as a media type, to which the framework would add a charset.
    if wanted is MetricsFormat.OPENMETRICS:
        headers = {"content-type": OPENMETRICS_CONTENT_TYPE, "vary": "Accept"}
        return Response(openmetrics_text(runtime.figures()), headers=headers)
    headers = {"content-type": TEXT_CONTENT_TYPE, "vary": "Accept"}
    return Response(prometheus_text(runtime.figures()), headers=headers)


def _health_response(report: HealthReport, document: dict[str, Any], *, good: bool) -> JsonResponse:
    if good:
        return JsonResponse(document)
    message = f"failing: {', '.join(document['failing']) or 'no check says why'}"
    code = "not_ready" if report.live else "not_live"
    return JsonResponse({**document, "error": {"code": code, "message": message}}, HTTPStatus.SERVICE_UNAVAILABLE)
