"""A worker process: phase 1, native code, users' code, phase 2, the pipeline, and the loop that keeps it honest.

Started by the supervisor as `python -m tasker_actors.supervision.worker BOOT_FD LINK_FD SUPERVISOR_PID`.
"""

from __future__ import annotations

import gc
import math
import os
import queue
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tasker_actors.actors import ActorSystem, ProcessLink
from tasker_actors.actors.address import MAILBOX_FULL
from tasker_actors.actors.hosted import load_configured, start_configured
from tasker_actors.actors.restart import restart_reason
from tasker_actors.actors.system import log_undeliverable
from tasker_actors.delivery.announcements import Announcements
from tasker_actors.delivery.committer import WorkerFencedError
from tasker_actors.errors import TaskerError
from tasker_actors.messages import (
    CancelLeases,
    Drain,
    Drained,
    DumpStacks,
    ExemplarsFound,
    Recycle,
    WorkAvailable,
    WorkerBootFailed,
    WorkerReady,
    WorkReleased,
)
from tasker_actors.native.bridge import NativeBridge
from tasker_actors.pipeline import Pipeline, actor_kind
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.claims import PostgresClaimer
from tasker_actors.postgres.commits import PostgresCommitter
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.outages import Session
from tasker_actors.postgres.template_lookup import TemplateLookup
from tasker_actors.postgres.templates import ensure_event_queues
from tasker_actors.settings import Settings, settings_from_json
from tasker_actors.stats.block import BlockWriter
from tasker_actors.stats.declared import LINKS
from tasker_actors.stats.figures import Exemplar
from tasker_actors.stats.recorder import WorkerRecorder
from tasker_actors.steps.modules import import_modules
from tasker_actors.steps.native_handlers import LoadedHandlers
from tasker_actors.steps.plans import StepPlans
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.supervision.boot import (
    EXIT_ESCALATED,
    EXIT_FENCED,
    EXIT_ORPHANED,
    LIFECYCLE,
    WorkerBoot,
    link_limits,
    mailbox_name,
    process_name,
)
from tasker_actors.supervision.inbox import Forwarder, Inbox
from tasker_actors.supervision.last_export import CUT_OFF_MS, ESCALATED_MS, cut_short_ms, drained_ms, end_process
from tasker_actors.supervision.left_threads import end_despite_threads
from tasker_actors.supervision.orphan import die_with_parent
from tasker_actors.supervision.spares import leave_signals_to_the_supervisor
from tasker_actors.supervision.stacks import thread_stacks
from tasker_actors.supervision.watch import WorkerWatch
from tasker_actors.supervision.wire_messages import wire_registry
from tasker_actors.telemetry import metrics, phases
from tasker_actors.telemetry.logging import get_logger, init_console_only

if TYPE_CHECKING:
    from psycopg import Connection

    from tasker_actors.delivery.tracer import Tracing

_TICK_S = 0.05
_BUSY_TICK_S = 0.01
_STOP_S = 2.0
_GIVE_BACK_S = 2.0
"""After the drain deadline: time for one more commit that gives unfinished steps back."""

logger = get_logger("tasker_actors.worker")


class Worker:
    """Runs in the main thread of a worker process."""

    def __init__(self, boot: WorkerBoot, settings: Settings, native: NativeBridge, link_fd: int) -> None:
        self._boot = boot
        self._settings = settings
        self._native = native
        self._inbox: Inbox = queue.SimpleQueue()
        self._block = BlockWriter(
            Path(boot.block_path),
            label_sets_per_metric=settings.telemetry.label_sets_per_metric,
            max_exemplars=settings.telemetry.max_exemplars,
        )
        self._recorder = WorkerRecorder(self._block, boot.namespaces)
        self._registry = wire_registry()
        self._system = ActorSystem(
            process_name(boot.slot),
            registry=self._registry,
            escalate=self._escalated,
            on_restart=self._actor_restarted,
            on_undeliverable=self._undeliverable,
            on_link_drop=lambda messages, reason: self._recorder.dropped(LINKS, messages, reason),
        )
        self._system.start(LIFECYCLE, partial(Forwarder, self._inbox, boot.slot))
        self._link = ProcessLink.from_fd(link_fd, limits=link_limits(settings.links), on_close=self._link_closed)
        self._system.add_link("supervisor", self._link, default=True)
        self._supervisor = self._system.address(f"supervisor/{mailbox_name(boot.slot, boot.incarnation)}")
        self._stats = self._system.address("supervisor/stats")

    def run(self) -> int:
        """Boot, work until drained, and return the exit code; TaskerErrors of the boot are reported and returned."""
        try:
            pipeline, watch = self._build()
            # What was loaded until here stays: no later collection has to look through it.
            gc.collect()
            gc.freeze()
            pipeline.start()
        except TaskerError as error:
            return self.refuse(error)
        self._supervisor.tell(WorkerReady(os.getpid()))
        returned = self._work(pipeline, watch)
        self._supervisor.tell(Drained(tuple(returned)))
        phases.shut_down(drained_ms(self._settings))
        self._link.close(time.monotonic() + 1)
        return 0

    def refuse(self, error: TaskerError) -> int:
        """Tell the supervisor why this worker cannot start, and return the exit code."""
        phases.init_tracing(worker=self._boot.slot)  # where it failed before phase 2, that is exported too
        logger.error("The worker cannot start", error=str(error))
        self._supervisor.tell(WorkerBootFailed(str(error), error.exit_code))
        phases.shut_down(drained_ms(self._settings))
        self._link.close(time.monotonic() + 1)
        return error.exit_code

    def _build(self) -> tuple[Pipeline, WorkerWatch]:
        boot, settings = self._boot, self._settings
        registry = HandlerRegistry.from_modules(import_modules(boot.handler_modules), LoadedHandlers(self._native))
        configured = load_configured(settings.actors, self._registry)
        self._start_exporting()
        # Before the first handler runs, which may speak to them; they stop after the last one.
        start_configured(self._system, configured, mailbox_size=settings.worker.mailbox_size)
        plans = StepPlans(
            registry,
            handler_timeout_ms=settings.worker.handler_timeout_ms,
            limits=settings.dynamic_limits,
            templates=TemplateLookup(partial(self._connect, "templates"), boot.template_ids),
        )
        availability = Availability(logger)
        claims, commits = self._session("claim", availability), self._session("commit", availability)
        claimer = PostgresClaimer(
            claims,
            worker_id=boot.worker_id,
            namespaces=boot.namespaces,
            plans=plans,
            lease_ms=settings.worker.lease_ms,
            new_plans=lambda template_id: self._recorder.declare(plans.steps(template_id)),
            logger=get_logger("tasker_actors.claim"),
        )
        committer = PostgresCommitter(
            commits,
            repair_queues=lambda: self._repair_queues(commits, plans.namespaces),
            logger=get_logger("tasker_actors.commit"),
        )
        pipeline = Pipeline(
            self._system,
            settings,
            worker_id=boot.worker_id,
            plans=plans,
            block=self._block,
            recorder=self._recorder,
            claimer=claimer,
            committer=committer,
            subscribers=registry.subscribers,
            native_subscribers=self._native.subscribers,
            announce=Announcements(
                released=lambda namespaces: self._supervisor.tell(WorkReleased(tuple(namespaces))),
                cancelled=lambda tokens: self._supervisor.tell(CancelLeases(tuple(tokens))),
            ),
            tracing=self._tracing(),
        )
        watch = WorkerWatch(
            pipeline,
            self._system,
            self._block,
            settings,
            claims=claims,
            commits=commits,
            exemplars=self._send_exemplars,
        )
        return pipeline, watch

    def _send_exemplars(self, found: Mapping[int, Exemplar]) -> None:
        boot = self._boot
        self._stats.tell(ExemplarsFound(boot.slot, boot.incarnation, tuple(found), tuple(found.values())))

    def _tracing(self) -> Tracing | None:
        exporter = phases.exporter()
        if exporter is None:
            return None
        from tasker_actors.delivery.tracer import Tracing  # noqa: PLC0415 - loaded only where tracing is on

        return Tracing(exporter.offer, exporter.count_lost_spans, self._boot.slot)

    def _start_exporting(self) -> None:
        """Phase 2, once all of users' code is loaded (SPEC 4.1)."""
        phases.init_tracing(worker=self._boot.slot, max_queue_bytes=self._settings.telemetry.max_queue_bytes)
        if (exporter := phases.exporter()) is not None:
            exporter.count_drops(self._recorder.spans_dropped, self._recorder.log_records_dropped)

    def _session(self, purpose: str, availability: Availability) -> Session:
        settings = self._settings
        return Session(
            partial(self._connect, purpose),
            backoff_ms=settings.database.reconnect_backoff_ms,
            backoff_max_ms=settings.database.reconnect_backoff_max_ms,
            availability=availability,
            doing=purpose,
        )

    def _connect(self, purpose: str) -> Connection[Any]:
        return connect(
            self._boot.database_url,
            application_name=f"tasker worker {self._boot.slot} {purpose}",
            database=self._settings.database,
        )

    def _repair_queues(self, session: Session, namespaces: frozenset[str]) -> None:
        for namespace in sorted(namespaces | set(self._boot.namespaces)):
            ensure_event_queues(session.connection(), namespace)

    def _work(self, pipeline: Pipeline, watch: WorkerWatch) -> Sequence[str]:
        """Handle messages and watch the clock until drained; returns the steps that went back unfinished."""
        drain_by: float | None = None
        while True:
            now = time.monotonic()
            tick = _BUSY_TICK_S if pipeline.parts.ready else _TICK_S
            message = self._next(min(tick, max(0.0, pipeline.parts.clock.wake_at - now)))
            match message:
                case WorkAvailable():
                    pipeline.source.tell(message)
                case CancelLeases(tokens):
                    pipeline.parts.ledger.cancel(tokens)
                case Drain(timeout_ms):
                    drain_by = min(watch.drain(timeout_ms), math.inf if drain_by is None else drain_by)
                case DumpStacks():
                    logger.warning("Stacks of all threads", stacks=thread_stacks())
                case _:
                    pass
            stuck = watch.tick(time.monotonic(), self._supervisor)
            if stuck and drain_by is None:
                self._supervisor.tell(Recycle("hang"))
                drain_by = watch.drain(self._settings.supervisor.drain_timeout_ms)
            if drain_by is not None and watch.is_drained(drain_by):
                break
        returned = watch.give_back(time.monotonic() + _GIVE_BACK_S)
        now = time.monotonic()
        left = pipeline.stop(now + _STOP_S, deliver_until=max(drain_by, now + _STOP_S))
        if left:
            logger.warning("Actors did not stop in time", actors=left)
        return returned

    def _next(self, timeout: float) -> Any:
        try:
            _, message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        return message

    def _actor_restarted(self, actor: str, reason: str, error: BaseException) -> None:
        self._block.counter(metrics.ACTORS_RESTARTS, (actor_kind(actor), restart_reason(error).value)).add()

        def say() -> None:
            logger.error("Actor restarted", actor=actor, reason=reason, exc_info=error)
            if isinstance(error, WorkerFencedError):
                logger.error(
                    "This worker was declared dead by another supervisor; it ends", worker_id=self._boot.worker_id
                )

        if isinstance(error, WorkerFencedError):
            self._exit(EXIT_FENCED, CUT_OFF_MS, say)
        say()

    def _undeliverable(self, address: str, message_type: str, reason: str) -> None:
        if reason == MAILBOX_FULL:
            # Counted, and shown by the depth of the mailbox: a line each would be one for every message of a flood.
            self._recorder.dropped("mailboxes", 1, "too_many")
        else:
            log_undeliverable(address, message_type, reason)

    def _escalated(self, actor: str, reason: str) -> None:
        def say() -> None:
            logger.error("Actor failed for good; the worker ends", actor=actor, reason=reason)

        self._exit(EXIT_ESCALATED, ESCALATED_MS, say)

    def _link_closed(self, reason: str) -> None:
        def say() -> None:
            logger.warning("The link to the supervisor is lost; the worker ends", reason=reason)

        # Whatever runs now would run a second time elsewhere once the leases are settled.
        self._exit(EXIT_ORPHANED, CUT_OFF_MS, say)

    def _exit(self, code: int, export_ms: float, say: Callable[[], None]) -> NoReturn:
        """End the process from any thread, as soon as what is left to export is exported or its time is over."""
        end_process(code, cut_short_ms(self._settings, export_ms), say)


def main(arguments: Sequence[str]) -> int:
    """Start a worker process; see the module's first lines."""
    boot_fd, link_fd, supervisor_pid = (int(argument) for argument in arguments)
    leave_signals_to_the_supervisor()
    die_with_parent(supervisor_pid)
    boot = WorkerBoot.read(boot_fd)
    if boot is None:
        return EXIT_ORPHANED
    init_console_only(worker=boot.slot)
    settings = settings_from_json(boot.settings)
    # Between the phases, and before the link: until here this process has one thread and has opened nothing (SPEC 4.1).
    try:
        native = NativeBridge.load(
            settings.native, boot.native_handlers, worker=boot.slot, environment=settings.environment
        )
    except TaskerError as error:
        return Worker(boot, settings, NativeBridge(), link_fd).refuse(error)
    code = Worker(boot, settings, native, link_fd).run()
    end_despite_threads(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
