"""What the HTTP API sees of the supervisor; implements `web.runtime.Runtime`."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import orjson

from tasker_actors.actors import (
    ActorError,
    ActorSystem,
    ActorUnavailableError,
    AskTimeoutError,
    LinkFullError,
    LocalAddress,
)
from tasker_actors.errors import DatabaseUnavailableError, ProtocolError
from tasker_actors.messages import Count, EventPublished, PublishEvent, ReportEventStats, ReportFigures
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.health import database_fault
from tasker_actors.postgres.session import Pool
from tasker_actors.postgres.step_control import Resolution
from tasker_actors.postgres.tasks import Cancellation
from tasker_actors.settings import Settings
from tasker_actors.stats.figures import Figures
from tasker_actors.supervision.boot import process_name
from tasker_actors.supervision.crew import Crew
from tasker_actors.supervision.main_loop import MainLoop
from tasker_actors.supervision.slots import Incarnation
from tasker_actors.supervision.tracing import SupervisorTracing
from tasker_actors.supervision.wakeups import Wakeups
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.trace_context import TraceContext
from tasker_actors.web.runtime import (
    HealthCheck,
    HealthReport,
    Publication,
    PublicationRefusedError,
    PublishReceipt,
    PublishUnavailableError,
)
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.states import TaskState
from tasker_actors.workflow.template_index import TemplateIndex

_STATS_TIMEOUT_S = 5.0
_MAIN_LOOP_LIMIT_S = 10.0
_DATABASE_CHECK_S = 2.0
"""Well below the time in which the HTTP API wants all checks answered."""


class SupervisorRuntime:
    """Answers the HTTP threads; everything that changes something goes through actors or the database."""

    def __init__(
        self,
        settings: Settings,
        *,
        supervisor_id: str,
        pool: Pool,
        index: TemplateIndex,
        system: ActorSystem,
        stats: LocalAddress,
        crew: Crew,
        wakeups: Wakeups,
        main_loop: MainLoop,
        tracing: SupervisorTracing,
        availability: Availability,
    ) -> None:
        self.settings = settings
        self.supervisor_id = supervisor_id
        self.pool = pool
        self._index = index
        self._system = system
        self._stats = stats
        self._crew = crew
        self._wakeups = wakeups
        self._main_loop = main_loop
        self._tracing = tracing
        self._availability = availability
        self._turn = itertools.count()

    def refused(self, reason: str) -> None:
        """Count a request or a connection that was refused."""
        self._stats.tell(Count(metrics.HTTP_REFUSALS, (reason,)))

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Return a version of a template, the newest for None."""
        return self._index.find(namespace, name, version)

    def templates(self) -> Sequence[RegisteredTemplate]:
        """Return every template that tasks can be created from."""
        return self._index.all

    def new_trace(self) -> TraceContext:
        """Start a trace for a request that brought none."""
        return self._tracing.new_trace()

    def liveness(self) -> HealthCheck:
        """Look whether the main thread goes round its loop."""
        loop_age_s = time.monotonic() - self._main_loop.last_round
        message = f"main loop went round {loop_age_s:.1f} s ago"
        return HealthCheck("supervisor", loop_age_s < _MAIN_LOOP_LIMIT_S, message, 0.0)

    def health(self) -> HealthReport:
        """Look at the main thread, the database and the workers."""
        liveness = self.liveness()
        checks = (liveness, self._database_check(), self._worker_check())
        return HealthReport(live=liveness.healthy, ready=all(check.healthy for check in checks), checks=checks)

    def tasks_created(self, tasks: Sequence[tuple[str, str]]) -> None:
        """Count created tasks and wake workers, here and elsewhere."""
        for labels, count in Counter(tasks).items():
            self._stats.tell(Count(metrics.TASK_REQUESTS, labels, count))
        self.work_released()

    def task_cancelled(self, cancellation: Cancellation) -> None:
        """Tell the handlers that run for a cancelled task, here and elsewhere."""
        by_worker: dict[int, list[int]] = defaultdict(list)
        for lease in cancellation.leases:
            by_worker[lease.worker_id].append(lease.token)
        if by_worker:
            self._crew.cancel(by_worker)
            self._wakeups.leases_cancelled(by_worker)
        self._tracing.ended(cancellation, TaskState.CANCELLED)
        self.work_released()  # a step may have waited for it

    def work_released(self) -> None:
        """Wake workers, here and elsewhere."""
        self._crew.wake()
        self._wakeups.work_released()

    def task_finished(self, resolution: Resolution) -> None:
        """Count a task that was completed by hand; one that ends as failed again has been counted as that."""
        if resolution.finished == TaskState.COMPLETE:
            self._stats.tell(Count(metrics.TASK_COMPLETIONS, (resolution.namespace, resolution.name)))
        self._tracing.ended(resolution, resolution.finished or "")

    def publish(self, publication: Publication, timeout: float) -> PublishReceipt:
        """Publish one event through the next worker in turn, and wait for its commit."""
        event_id = publication.event_id
        message = PublishEvent(
            event_id=event_id,
            name=publication.name,
            namespace=publication.namespace,
            payload=orjson.dumps(publication.payload).decode(),
            delivery_mode=publication.delivery_mode.value,
            correlation_id=publication.correlation_id,
            parent_correlation_id=publication.parent_correlation_id,
            traceparent=publication.trace.traceparent,
            tracestate=publication.trace.tracestate,
        )
        slot = self._publishing_slot()
        address = self._system.address(f"{process_name(slot)}/event_router")
        try:
            answer = address.ask(message, timeout, trace=publication.trace, correlation_id=publication.correlation_id)
        except AskTimeoutError as error:
            msg = f"event {event_id} was not confirmed in time; it is published once or not at all"
            raise TimeoutError(msg) from error
        except ProtocolError as error:
            msg = f"the event is too large for a message to a worker (links.max_message_bytes): {error}"
            raise PublicationRefusedError("too_large", msg, "/payload") from error
        except (ActorUnavailableError, ActorError, LinkFullError) as error:
            msg = f"worker {slot} has not confirmed event {event_id}, which is published once or not at all: {error}"
            raise PublishUnavailableError(msg) from error
        assert isinstance(answer, EventPublished)  # noqa: S101 - the router's only answer to this message
        if answer.code is not None:
            raise PublicationRefusedError(answer.code, answer.message or "", answer.path or "")
        return PublishReceipt(answer.event_id)

    def figures(self) -> Figures:
        """Return every figure, now."""
        figures = self._stats.ask(ReportFigures(), timeout=_STATS_TIMEOUT_S)
        assert isinstance(figures, Figures)  # noqa: S101 - the actor's only answer to this message
        return figures

    def event_stats(self) -> dict[str, Any]:
        """Return the figures of `GET /metrics/events`."""
        document = self._stats.ask(ReportEventStats(), timeout=_STATS_TIMEOUT_S)
        assert isinstance(document, dict)  # noqa: S101 - the actor's only answer to this message
        return document

    def _running(self) -> list[Incarnation]:
        """The workers that claim work, one a slot."""
        return [slot.running for slot in self._crew.slots if slot.running]

    def _publishing_slot(self) -> int:
        """Pick the next worker in turn that the database answers."""
        running = self._running()
        if not running:
            msg = "no worker is running that could publish the event; try again soon"
            raise PublishUnavailableError(msg)
        answered = [worker.slot for worker in running if not worker.waits_for_database]
        if not answered:
            msg = "the database does not answer, and nothing was published; try again"
            raise DatabaseUnavailableError(msg)
        return answered[next(self._turn) % len(answered)]

    def _database_check(self) -> HealthCheck:
        began = time.monotonic()
        running = self._running()
        fault = self._availability.reason or database_fault(self.pool, _DATABASE_CHECK_S)
        if fault is None and running and all(worker.waits_for_database for worker in running):
            fault = "every worker waits for it; their logs say why"
        return HealthCheck("database", fault is None, fault or "answers", _since_ms(began))

    def _worker_check(self) -> HealthCheck:
        running = self._running()
        if self._main_loop.is_draining:
            return HealthCheck("workers", healthy=False, message="draining", duration_ms=0.0)
        wanted = len([slot for slot in self._crew.slots if not slot.is_leaving])
        waiting = sum(worker.waits_for_database for worker in running)
        message = f"{len(running)} of {wanted} running" + (
            f", {waiting} of them wait for the database" if waiting else ""
        )
        return HealthCheck("workers", bool(running), message, 0.0)


def _since_ms(began: float) -> float:
    return (time.monotonic() - began) * 1000
