"""Starts a supervisor in order, each thing before what needs it, and takes it down in the opposite order."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tasker_actors.actors import ActorSystem, LocalAddress
from tasker_actors.actors.restart import restart_reason
from tasker_actors.errors import TaskerError
from tasker_actors.identifiers import new_uuid7
from tasker_actors.messages import Count
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.notifications import Listener
from tasker_actors.postgres.outages import Backoff
from tasker_actors.postgres.repeat import repeat_until
from tasker_actors.postgres.session import Pool, session
from tasker_actors.postgres.workers import local_workers
from tasker_actors.settings import Settings, require_key_when_exposed
from tasker_actors.stats.declared import LINKS, SUPERVISOR
from tasker_actors.steps.modules import import_modules
from tasker_actors.steps.native_handlers import HandlerFiles
from tasker_actors.steps.plans import StepPlans
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.supervision.block_directory import make_block_directory
from tasker_actors.supervision.boot import mailbox_kind
from tasker_actors.supervision.crew import Crew
from tasker_actors.supervision.database import ready_database
from tasker_actors.supervision.inbox import ActorLost, Inbox
from tasker_actors.supervision.isolated_hooks import IsolatedHooks
from tasker_actors.supervision.last_export import drained_ms
from tasker_actors.supervision.launcher import CrewIdentity, Launcher
from tasker_actors.supervision.lifecycle import Lifecycle
from tasker_actors.supervision.main_loop import MainLoop
from tasker_actors.supervision.maintenance import MaintenanceActor
from tasker_actors.supervision.native_code import check_subscribers, wanted_handlers
from tasker_actors.supervision.process import process_space, start_time
from tasker_actors.supervision.registrar import Registrar
from tasker_actors.supervision.runtime import SupervisorRuntime
from tasker_actors.supervision.schedule_start import schedule_alarm, start_schedules
from tasker_actors.supervision.sd_notify import SystemdNotifier
from tasker_actors.supervision.settlement import Settlement
from tasker_actors.supervision.shutdown import ExitDeadline, Shutdown
from tasker_actors.supervision.signals import install_handlers
from tasker_actors.supervision.spares import Spares
from tasker_actors.supervision.stats_start import MAINTENANCE, STATS, start_stats
from tasker_actors.supervision.supervisor import Supervisor
from tasker_actors.supervision.templates import read_templates, register_templates
from tasker_actors.supervision.tracing import SupervisorTracing
from tasker_actors.supervision.wakeups import Wakeups
from tasker_actors.supervision.wire_messages import wire_registry
from tasker_actors.telemetry import metrics, phases
from tasker_actors.telemetry.logging import get_logger, init_console_only
from tasker_actors.web.server import HttpServer
from tasker_actors.workflow.template_index import TemplateIndex

logger = get_logger("tasker_actors.supervisor")

_POOL_SIZE = 12
_SHARE = 0.3
"""Of the time that is left until the process must have ended: what each of the last steps may take."""


def run_supervisor(
    settings: Settings, spares: Spares, *, handlers: Sequence[str], template_paths: Sequence[Path], embedded_home: Path
) -> int:
    """Run a supervisor until a signal ends it, and return the exit code 0; blocks the main thread.

    Raises the TaskerError of whatever ended it otherwise; its `exit_code` is the command's (SPEC 7). What needs nobody
    else is checked first: a wrong template or a port in use costs no database start.
    """
    init_console_only()
    require_key_when_exposed(settings)
    check_subscribers(settings.native)
    registry = HandlerRegistry.from_modules(import_modules(handlers), HandlerFiles(settings.native.directory))
    templates = read_templates(settings, registry, template_paths)
    phases.init_tracing(max_queue_bytes=settings.telemetry.max_queue_bytes)
    inbox: Inbox = queue.SimpleQueue()
    exit_deadline = ExitDeadline()
    exit_deadline.start()
    drain_s = settings.supervisor.drain_timeout_ms / 1000
    install_handlers(inbox, lambda now: exit_deadline.arm(Shutdown.within(now, drain_s).exit_by))
    start_by = time.monotonic() + settings.supervisor.startup_timeout_ms / 1000
    with ExitStack() as stack:
        stack.callback(lambda: phases.shut_down(exit_deadline.left_s(_SHARE) * 1000))
        url, revive = ready_database(settings, embedded_home, start_by, stack, exit_deadline)
        pool = open_pool(url, application_name="tasker supervisor", max_size=_POOL_SIZE, database=settings.database)
        stack.callback(lambda: pool.close(exit_deadline.left_s(_SHARE)))
        register = partial(register_templates, pool, templates, environment=settings.environment)
        index = TemplateIndex(repeat_until(start_by, register, failed=_database_went_away))
        plans = StepPlans(registry, handler_timeout_ms=settings.worker.handler_timeout_ms)
        for one in index.all:
            plans.add(one.template_id, one.template)
        start = Start(settings, inbox, exit_deadline, pool, url, revive, index, plans, tuple(handlers), spares, stack)
        start.run(start_by)
    return 0


def _database_went_away(error: Exception) -> None:
    logger.warning("The start waits for the database", error=str(error))


class Start:
    """Puts one supervisor together; `run` returns when it has ended."""

    def __init__(
        self,
        settings: Settings,
        inbox: Inbox,
        exit_deadline: ExitDeadline,
        pool: Pool,
        url: str,
        revive: Callable[[], None],
        index: TemplateIndex,
        plans: StepPlans,
        handlers: tuple[str, ...],
        spares: Spares,
        stack: ExitStack,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._exit_deadline = exit_deadline
        self._pool = pool
        self._url = url
        self._revive = revive
        self._index = index
        self._handlers = handlers
        self._spares = spares
        self._stack = stack
        self._supervisor_id = new_uuid7()
        self._systemd = SystemdNotifier(os.environ)
        self._plans = plans
        self._availability = Availability(logger)
        self._tracing = self._new_tracing()
        self._settlement = self._new_settlement()
        self._system = ActorSystem(
            "supervisor",
            registry=wire_registry(),
            escalate=self._actor_lost,
            on_restart=self._actor_restarted,
            on_link_drop=self._link_dropped,
            max_relayed_asks=settings.links.max_relayed_asks,
        )
        self._alarm = schedule_alarm(self._system)
        all_plans = [plan for one in index.all for plan in plans.steps(one.template_id)]
        self._stats = start_stats(self._system, settings, self._supervisor_id, all_plans)

    def run(self, start_by: float) -> None:
        """Start the rest, run, stop."""
        host, space = socket.gethostname(), process_space()
        repeat_until(start_by, partial(self._settle_dead_of_this_machine, space), failed=_database_went_away)
        registrar = Registrar(self._inbox, self._availability)
        crew = self._crew(self._identity(host, space), registrar)
        wakeups = self._wakeups(crew)
        main_loop = MainLoop()
        self._start_schedules(crew, wakeups)
        server = self._http(crew, wakeups, main_loop)
        supervisor = Supervisor(
            self._settings,
            inbox=self._inbox,
            crew=crew,
            exit_deadline=self._exit_deadline,
            maintenance=self._start_maintenance(crew, wakeups),
            work_released=wakeups.work_released,
            systemd=self._systemd,
            main_loop=main_loop,
            on_ready=lambda: logger.info(
                "Supervisor ready",
                url=server.url,
                workers=len(crew.slots),
                namespaces=self._index.namespaces,
                supervisor_id=self._supervisor_id,
            ),
        )
        registrar.start()
        wakeups.start()
        self._alarm.start()
        server.start()
        try:
            supervisor.run()
            self._exit_deadline.exit_code = 0
        except TaskerError as error:
            self._exit_deadline.exit_code = error.exit_code
            raise
        finally:
            self._stop(server, wakeups)

    def _stop(self, server: HttpServer, wakeups: Wakeups) -> None:
        """End what the supervisor itself runs, each part within its share of the time that is left."""
        left_s = self._exit_deadline.left_s
        server.stop(time.monotonic() + left_s(_SHARE))
        self._alarm.stop()
        wakeups.stop()
        # Before the actor that has the metrics stops.
        phases.shut_down(min(drained_ms(self._settings), left_s(_SHARE) * 1000))
        self._system.stop_all((), time.monotonic() + left_s(_SHARE))
        logger.info("Supervisor stopped")

    def _crew(self, identity: CrewIdentity, registrar: Registrar) -> Crew:
        launcher = Launcher(
            self._settings, identity, spares=self._spares, system=self._system, inbox=self._inbox, pool=self._pool
        )
        lifecycle = Lifecycle(
            self._settings,
            launcher=launcher,
            registrar=registrar,
            settlement=self._settlement,
            stats=self._stats,
        )
        return Crew(self._settings, lifecycle=lifecycle, launcher=launcher, stats=self._stats)

    def _new_tracing(self) -> SupervisorTracing:
        return SupervisorTracing(phases.exporter(), phases.sampling_ratio())

    def _new_settlement(self) -> Settlement:
        """Make a settlement for one thread."""
        return Settlement(
            self._pool,
            self._plans,
            max_payload_bytes=self._settings.events.max_payload_bytes,
            isolated=IsolatedHooks(
                self._handlers,
                timeout_ms=self._settings.event_bus.dispatch_timeout_ms,
                start_timeout_ms=self._settings.supervisor.startup_timeout_ms,
                export_ms=drained_ms(self._settings),
            ).declarations,
            trace=self._tracing.settled,
        )

    def _start_maintenance(self, crew: Crew, wakeups: Wakeups) -> LocalAddress:
        def note_others(exist: bool) -> None:  # noqa: FBT001 - a callback with one meaning
            wakeups.others_exist = exist

        return self._system.start(
            MAINTENANCE,
            partial(
                MaintenanceActor,
                pool=self._pool,
                settings=self._settings,
                settlement=self._new_settlement(),
                stats=self._stats,
                supervisor_id=self._supervisor_id,
                others=note_others,
                availability=self._availability,
                revive=self._revive,
                cancel=(crew.cancel, wakeups.leases_cancelled),
                tracing=self._tracing,
            ),
        )

    def _start_schedules(self, crew: Crew, wakeups: Wakeups) -> None:
        start_schedules(
            self._system,
            self._settings.schedules,
            pool=self._pool,
            new_trace=self._tracing.new_trace,
            stats=self._stats,
            availability=self._availability,
            alarm=self._alarm,
            released=(crew.wake, wakeups.work_released),
        )

    def _identity(self, host: str, space: str) -> CrewIdentity:
        directory = make_block_directory(space)
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        return CrewIdentity(
            supervisor_id=self._supervisor_id,
            host=host,
            process_space=space,
            database_url=self._url,
            namespaces=self._index.namespaces,
            handler_modules=self._handlers,
            native_handlers=wanted_handlers(one.template for one in self._index.all),
            template_ids=tuple(one.template_id for one in self._index.all),
            block_directory=directory,
        )

    def _wakeups(self, crew: Crew) -> Wakeups:
        database = self._settings.database
        return Wakeups(
            Listener(self._url, database),
            self._pool,
            supervisor_id=self._supervisor_id,
            on_work=crew.wake,
            on_cancel=crew.cancel,
            on_schedules=self._alarm.set_off,
            interval_ms=database.wakeup_interval_ms,
            backoff=Backoff(database.reconnect_backoff_ms, database.reconnect_backoff_max_ms),
            availability=self._availability,
            revive=self._revive,
        )

    def _http(self, crew: Crew, wakeups: Wakeups, main_loop: MainLoop) -> HttpServer:
        runtime = SupervisorRuntime(
            self._settings,
            supervisor_id=self._supervisor_id,
            pool=self._pool,
            index=self._index,
            system=self._system,
            stats=self._stats,
            crew=crew,
            wakeups=wakeups,
            main_loop=main_loop,
            tracing=self._tracing,
            availability=self._availability,
        )
        server = HttpServer(runtime, self._settings.http.host, self._settings.http.port)
        server.bind()
        return server

    def _settle_dead_of_this_machine(self, space: str) -> None:
        """Give back what workers of this machine held whose processes are no more: their supervisor was killed."""
        with session(self._pool) as connection:
            rows = local_workers(connection, space)
        for worker_id, pid, process_start in rows:
            if pid is not None and process_start is not None and start_time(pid) == process_start:
                continue
            logger.warning("A worker of a supervisor that died is settled", worker_id=worker_id)
            self._settlement.settle(worker_id, running=None, reason="its supervisor died")

    def _actor_lost(self, actor: str, reason: str) -> None:
        self._inbox.put((None, ActorLost(actor, reason)))

    def _link_dropped(self, messages: int, reason: str) -> None:
        self._stats.tell(Count(metrics.DROPS, (SUPERVISOR, LINKS, reason), messages))

    def _actor_restarted(self, actor: str, reason: str, error: BaseException) -> None:
        if actor != STATS:
            self._stats.tell(Count(metrics.ACTORS_RESTARTS, (mailbox_kind(actor), restart_reason(error).value)))
        logger.error("Actor restarted", actor=actor, reason=reason, exc_info=error)
