"""A supervisor's side of the HTTP API over a real database, without workers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
from fastapi import APIRouter

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.pool_figures import MeasuredPool
from tasker_actors.postgres.session import Pool
from tasker_actors.postgres.step_control import Resolution
from tasker_actors.postgres.tasks import Cancellation, Lease
from tasker_actors.settings import Settings
from tasker_actors.stats.counters import EventRouterStats, InProcessEventBusStats
from tasker_actors.stats.figures import Figures
from tasker_actors.telemetry.metrics import WORKERS_ALIVE
from tasker_actors.telemetry.trace_context import TraceContext, new_trace
from tasker_actors.web.runtime import HealthCheck, HealthReport, Publication, PublishReceipt
from tasker_actors.web.server import HttpServer
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.versions import version_key


class RecordingRuntime:
    """Knows the templates it is given, and remembers what the API told it; without a pool nothing asks a database."""

    def __init__(self, pool: Pool | None, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.supervisor_id = str(uuid4())
        self.pool: Pool = MeasuredPool(min_size=0, max_size=8, open=False) if pool is None else pool
        self.registered: list[RegisteredTemplate] = []
        self.created: list[tuple[str, str]] = []
        self.cancelled: list[Lease] = []
        self.released = 0
        self.finished: list[tuple[str, str | None]] = []
        self.published: list[Publication] = []
        self.publish_error: Exception | None = None
        self.checks = (HealthCheck("database", healthy=True, message="answers", duration_ms=1.0),)
        self.alive = True
        self.refusals: Counter[str] = Counter()
        self.on_health: Callable[[], None] = lambda: None
        self.on_metrics: Callable[[], None] = lambda: None

    def refused(self, reason: str) -> None:
        self.refusals[reason] += 1

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        found = [
            each
            for each in self.registered
            if (each.template.namespace_name, each.template.name) == (namespace, name)
            and version in (None, each.template.version)
        ]
        return max(found, key=lambda each: version_key(each.template.version), default=None)

    def templates(self) -> Sequence[RegisteredTemplate]:
        return self.registered

    def new_trace(self) -> TraceContext:
        return new_trace()

    def liveness(self) -> HealthCheck:
        return HealthCheck("supervisor", healthy=self.alive, message="goes round", duration_ms=0.0)

    def health(self) -> HealthReport:
        self.on_health()
        ready = all(check.healthy for check in self.checks)
        return HealthReport(live=self.alive, ready=ready, checks=self.checks)

    def tasks_created(self, tasks: Sequence[tuple[str, str]]) -> None:
        self.created.extend(tasks)

    def task_cancelled(self, cancellation: Cancellation) -> None:
        self.cancelled.extend(cancellation.leases)

    def work_released(self) -> None:
        self.released += 1

    def task_finished(self, resolution: Resolution) -> None:
        self.finished.append((resolution.task_uuid, resolution.finished))

    def publish(self, publication: Publication, timeout: float) -> PublishReceipt:
        if self.publish_error is not None:
            raise self.publish_error
        self.published.append(publication)
        return PublishReceipt(new_uuid7())

    def figures(self) -> Figures:
        self.on_metrics()
        return Figures(gauges={WORKERS_ALIVE: {("0",): 1.0}})

    def event_stats(self) -> dict[str, Any]:
        return {
            "router": EventRouterStats().to_dict(),
            "in_process_bus": InProcessEventBusStats().to_dict(),
            "captured_at": "2025-12-01T10:30:00Z",
            "worker_id": self.supervisor_id,
            "workers": [],
        }


@contextmanager
def serving(runtime: RecordingRuntime, more_routes: Sequence[APIRouter] = (), **client: Any) -> Iterator[httpx.Client]:
    """A client of a server that runs over the runtime on a free port."""
    server = HttpServer(runtime, "127.0.0.1", 0, more_routes)
    server.bind()
    server.start()
    try:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30, **client) as opened:
            yield opened
    finally:
        server.stop(time.monotonic() + 5)


def in_threads(call: Callable[[int], Any], count: int) -> list[Any]:
    """Call at the same time from several threads and return what came back."""
    answers: list[Any] = [None] * count
    start = threading.Barrier(count)

    def run(index: int) -> None:
        start.wait()
        answers[index] = call(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
