"""The supervisor's main loop: messages, signals, slots, drain. One thread decides; everybody else only tells it."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from tasker_actors.actors import LocalAddress
from tasker_actors.errors import ActorLostError, DrainDeadlineError, StartupError, TaskerError, WorkersCrashedError
from tasker_actors.messages import (
    CancelLeases,
    Drained,
    Heartbeat,
    Maintain,
    Recycle,
    WorkerBootFailed,
    WorkerReady,
    WorkReleased,
)
from tasker_actors.postgres.workers import WorkerState
from tasker_actors.settings import Settings
from tasker_actors.supervision.crew import Crew
from tasker_actors.supervision.inbox import ActorLost, Inbox
from tasker_actors.supervision.launcher import ProcessEnded
from tasker_actors.supervision.lifecycle import SETTLE
from tasker_actors.supervision.main_loop import MainLoop
from tasker_actors.supervision.registrar import JobDone, JobFailed
from tasker_actors.supervision.replacements import Replacements
from tasker_actors.supervision.sd_notify import ALIVE, SystemdNotifier
from tasker_actors.supervision.shutdown import AT_ONCE_S, ExitDeadline, Shutdown
from tasker_actors.supervision.signals import Signalled
from tasker_actors.supervision.slots import Incarnation
from tasker_actors.supervision.stacks import thread_stacks
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")

_TICK_S = 0.05
_WAKE_INTERVAL_S = 0.01
_SETTLE_S = 2.0
"""Without workers: time to give back what those that were killed held."""


class Phase(Enum):
    """Life of the supervisor."""

    STARTING = auto()
    RUNNING = auto()
    DRAINING = auto()


class Supervisor:
    """Keeps the wanted number of workers running until told to stop.

    `run` blocks the main thread, which also starts every worker (the kernel ties a worker's life to the thread that
    started it). Every wait is for the inbox, so a signal is acted upon at once.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        inbox: Inbox,
        crew: Crew,
        exit_deadline: ExitDeadline,
        maintenance: LocalAddress,
        work_released: Callable[[], None],
        systemd: SystemdNotifier,
        main_loop: MainLoop,
        on_ready: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._crew = crew
        self._replacements = Replacements(crew, settings)
        self._exit_deadline = exit_deadline
        self._maintenance = maintenance
        self._work_released = work_released
        self._systemd = systemd
        self._main_loop = main_loop
        self._on_ready = on_ready
        self._failure: TaskerError | None = None
        self._start_by = 0.0
        self._drain_by = 0.0
        self._settle_by: float | None = None
        self._is_reloading = False
        self._releasing: set[Incarnation] = set()
        self._next_wake = 0.0
        self._next_maintenance = 0.0
        self._next_watchdog = 0.0
        self.phase = Phase.STARTING

    def run(self) -> None:
        """Start the workers, run until a signal or a fatal failure, drain. Raises the TaskerError that ends it.

        DrainDeadlineError if steps were left, WorkersCrashedError after too many crashes, StartupError if a worker
        cannot boot, ActorLostError if an actor of the supervisor failed for good.
        """
        self._start_by = time.monotonic() + self._settings.supervisor.startup_timeout_ms / 1000
        for _ in range(self._settings.worker.count):
            self._crew.add()
        while not (self.phase is Phase.DRAINING and (self._crew.is_empty or time.monotonic() >= self._drain_by)):
            self._wait_and_handle()
            self._tick(time.monotonic())
        self._crew.close(min(time.monotonic() + _SETTLE_S, self._drain_by))
        if self._failure is not None:
            raise self._failure
        returned = self._crew.returned
        if returned:
            steps = ", ".join(returned[:10]) + (f" and {len(returned) - 10} more" if len(returned) > 10 else "")  # noqa: PLR2004 - as many as a line can name
            message = f"the drain deadline passed; returned to the queue unfinished: {steps}"
            raise DrainDeadlineError(message)

    def _wait_and_handle(self) -> None:
        try:
            sender, message = self._inbox.get(timeout=_TICK_S)
        except queue.Empty:
            return
        while True:
            self._handle(sender, message)
            try:
                sender, message = self._inbox.get_nowait()
            except queue.Empty:
                return

    def _handle(self, sender: Any, message: object) -> None:
        match message:
            case Signalled(number, at):
                self._signal(number, at)
            case ProcessEnded():
                self._crew.link_closed(sender)
            case JobDone() | JobFailed():
                self._job(sender, message)
            case Heartbeat():
                self._crew.heartbeat(sender, message)
            case WorkReleased() | CancelLeases():
                self._committed(sender, message)
            case WorkerReady():
                self._crew.ready(sender)
            case WorkerBootFailed(text, exit_code):
                if not self._crew.cannot_boot(sender, text):
                    self._fail(_boot_error(sender, text, exit_code))
            case Recycle(reason):
                self._crew.leaves(sender, reason)
            case Drained(returned):
                sender.returned = returned
            case ActorLost(actor, reason):
                # Without maintenance no lease expires, without the stats no figure is shown: a new start heals both.
                self._fail(ActorLostError(f"the supervisor's actor {actor} failed for good: {reason}"))
            case _:
                logger.warning("A message of an unknown kind was ignored", message_type=type(message).__name__)

    def _committed(self, sender: Any, message: WorkReleased | CancelLeases) -> None:
        """Tell other workers what a commit means for them."""
        match message:
            case WorkReleased():
                self._releasing.add(sender)
            case CancelLeases(tokens):
                self._crew.cancel({one.worker_id: tokens for one in self._crew.with_process})

    def _job(self, incarnation: Incarnation, message: JobDone | JobFailed) -> None:
        match message:
            case JobDone(kind, result):
                self._crew.job_done(incarnation, kind, result)
                if kind == SETTLE:
                    self._work_released()  # the crew wakes its own workers, and others may be idle
            case JobFailed(kind, error):
                self._crew.job_failed(incarnation)
                self._fail(StartupError(f"slot {incarnation.slot}: {kind} failed: {error}"))

    def _signal(self, number: signal.Signals, at: float) -> None:
        logger.info("Signal received", signal=number.name)
        match number:
            case signal.SIGTERM | signal.SIGINT if self.phase is Phase.DRAINING:
                self._drain_by = min(self._drain_by, at + _SETTLE_S)
                self._exit_deadline.arm(at + AT_ONCE_S)
                self._crew.kill_all()
            case signal.SIGTERM | signal.SIGINT:
                self.drain(at)
            case signal.SIGHUP if self.phase is not Phase.DRAINING:
                self._reload()
            case signal.SIGTTIN if self.phase is not Phase.DRAINING:
                self._crew.add()
            case signal.SIGTTOU if self.phase is not Phase.DRAINING:
                self._crew.remove_last()
            case signal.SIGUSR1:
                self._dump()
            case _:
                pass

    def drain(self, began: float) -> None:
        """Stop claiming everywhere; the loop ends when the last worker has, and the process by the one deadline.

        `began` is the moment of the signal, in monotonic seconds: what was done since then is part of the shutdown.
        """
        if self.phase is Phase.DRAINING:
            return
        timeout_ms = self._settings.supervisor.drain_timeout_ms
        shutdown = Shutdown.within(began, timeout_ms / 1000)
        self._exit_deadline.arm(shutdown.exit_by)
        self.phase = Phase.DRAINING
        self._main_loop.is_draining = True
        self._drain_by = shutdown.settled_until
        self._replacements.clear()
        self._crew.drain_all(shutdown)
        logger.info("Draining", timeout_ms=timeout_ms)
        self._systemd.send("STOPPING=1", "STATUS=Draining")

    def _reload(self) -> None:
        """Replace all workers, one by one; systemd hears when that begins and when it is over."""
        self._is_reloading = True
        self._replacements.replace_all()
        self._systemd.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=Replacing workers")

    def _fail(self, error: TaskerError) -> None:
        """End everything because of an error; the first one is the one that is raised."""
        if self._failure is None:
            logger.error("The supervisor ends", error=str(error))
            self._failure = error
            self._exit_deadline.exit_code = error.exit_code
        self.drain(time.monotonic())

    def _tick(self, now: float) -> None:
        self._main_loop.last_round = now
        crashed = self._crew.watch(now, may_start=self.phase is not Phase.DRAINING)
        if crashed is not None:
            self._fail(WorkersCrashedError(crashed))
        if self._releasing and now >= self._next_wake:
            self._next_wake = now + _WAKE_INTERVAL_S
            self._wake_others()
        if now >= self._next_maintenance:
            self._next_maintenance = now + self._settings.maintenance.interval_ms / 1000
            self._maintenance.tell(Maintain(tuple(_state(one) for one in self._crew.with_process)))
        if self._systemd.watchdog_interval_s is not None and now >= self._next_watchdog:
            self._next_watchdog = now + self._systemd.watchdog_interval_s
            self._systemd.send(ALIVE)
        match self.phase:
            case Phase.STARTING:
                self._check_start(now)
            case Phase.RUNNING:
                self._replace(now)
            case Phase.DRAINING:
                if not self._crew.with_process:
                    # Only the database is waited for; what it is not told now, the next supervisor settles.
                    self._drain_by = min(self._drain_by, self._settle_by or now + _SETTLE_S)
                    self._settle_by = self._settle_by or self._drain_by

    def _check_start(self, now: float) -> None:
        slots = self._crew.slots
        if all(slot.running for slot in slots):
            self.phase = Phase.RUNNING
            self._systemd.send("READY=1", f"STATUS={len(slots)} workers")
            self._on_ready()
        elif now >= self._start_by:
            late = [str(slot.number) for slot in slots if not slot.running]
            timeout_ms = self._settings.supervisor.startup_timeout_ms
            self._fail(StartupError(f"workers {', '.join(late)} were not ready within {timeout_ms} ms"))

    def _wake_others(self) -> None:
        """Wake the workers that did not release the work themselves, and other supervisors."""
        only = next(iter(self._releasing)) if len(self._releasing) == 1 else None
        self._releasing.clear()
        self._crew.wake(excluding=only)
        self._work_released()

    def _replace(self, now: float) -> None:
        self._replacements.tick(now)
        if self._is_reloading and self._replacements.are_over:
            self._is_reloading = False
            self._systemd.send("READY=1", f"STATUS={len(self._crew.slots)} workers")

    def _dump(self) -> None:
        states = {
            f"{one.slot}, incarnation {one.number}": f"{one.state.value}, pid {one.pid}"
            for slot in self._crew.slots
            for one in slot.incarnations
        }
        logger.warning("Stacks of all threads", stacks=thread_stacks(), slots=states)
        self._crew.dump_stacks()


def _state(incarnation: Incarnation) -> WorkerState:
    return WorkerState(incarnation.worker_id, incarnation.state.value, incarnation.in_flight)


def _boot_error(incarnation: Incarnation, text: str, exit_code: int) -> TaskerError:
    error = StartupError(f"worker {incarnation.slot} cannot start: {text}")
    error.exit_code = exit_code
    return error
