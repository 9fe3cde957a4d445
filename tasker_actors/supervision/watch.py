"""What a worker's main thread looks at between two messages: time limits, leases, wake-ups, heartbeats, the drain."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from tasker_actors.actors import ActorAddress, ActorSystem, LinkFullError
from tasker_actors.delivery.returns import give_back
from tasker_actors.errors import ProtocolError
from tasker_actors.messages import (
    DispatchAll,
    ExtendLeases,
    Heartbeat,
    ReturnOverdue,
    StepFinished,
    StopClaiming,
    WorkAvailable,
)
from tasker_actors.pipeline import PUBLISHER, ROUTER, Pipeline
from tasker_actors.postgres.outages import Session
from tasker_actors.settings import Settings
from tasker_actors.stats.block import BlockWriter
from tasker_actors.stats.declared import NOT_WRITTEN, STDERR
from tasker_actors.stats.figures import Exemplar
from tasker_actors.steps.conclude import HandledStep, conclude, timed_out, without_publishers
from tasker_actors.steps.ledger import LedgerItem, Stage
from tasker_actors.supervision.progress import ProgressWatch, Standstill
from tasker_actors.supervision.stacks import thread_stacks
from tasker_actors.supervision.stations import stations
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.lost_lines import LostLines
from tasker_actors.telemetry.trace_context import WorkingOn

logger = get_logger("tasker_actors.worker")

_OVERDUE_S = 1.0
"""Time without a free executor after which waiting steps are given back."""

_LEASE_PARTS = 3
"""A lease is extended this many times before it would end."""


class WorkerWatch:
    """Keeps one worker's promises about time; used by its main thread only."""

    def __init__(
        self,
        pipeline: Pipeline,
        system: ActorSystem,
        block: BlockWriter,
        settings: Settings,
        *,
        claims: Session,
        commits: Session,
        exemplars: Callable[[Mapping[int, Exemplar]], None],
    ) -> None:
        self._pipeline = pipeline
        self._system = system
        self._block = block
        self._settings = settings
        self._claims = claims
        self._commits = commits
        self._exemplars = exemplars
        self._progress = ProgressWatch()
        self._lost_lines = LostLines()
        self._is_stall_logged = False
        self._is_hook_logged = False
        self._next_heartbeat = 0.0
        self._next_extension = time.monotonic() + settings.worker.lease_ms / 1000 / _LEASE_PARTS
        self._beats = 0
        self._were_ready = False

    def tick(self, now: float, supervisor: ActorAddress) -> bool:
        """Do what is due; returns whether a user's function does not return, so that this worker must be replaced."""
        parts = self._pipeline.parts
        if now >= parts.clock.wake_at:
            parts.clock.wake_at = now + self._settings.database.poll_interval_ms / 1000
            self._pipeline.source.tell(WorkAvailable())
        if now >= self._next_extension:
            self._next_extension = now + self._settings.worker.lease_ms / 1000 / _LEASE_PARTS
            self._pipeline.source.tell(ExtendLeases())
        if parts.ready and self._were_ready:
            self._pipeline.source.tell(DispatchAll())
        self._were_ready = bool(parts.ready)
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._settings.worker.heartbeat_interval_ms / 1000
            self._beat(supervisor)
        grace = self._settings.worker.timeout_grace_ms / 1000
        for subscription in parts.subscriptions:
            subscription.check(now, grace)
        self._pipeline.channel.check(now)
        stuck_hook = parts.hooks_guard.check(now, grace)
        parts.loop.look(now)
        stuck = [item for guard in parts.guards if (item := guard.check(now, grace)) is not None]
        abandoned = [self._abandon(item) for item in stuck if not self._return_starved(item)]
        if stuck_hook is not None and not self._is_hook_logged:
            self._is_hook_logged = True
            with WorkingOn(stuck_hook.source):
                logger.error(
                    "A publisher's hook does not return past its time limit; the worker is replaced",
                    publisher=stuck_hook.publisher,
                )
        return stuck_hook is not None or any(abandoned)

    def drain(self, timeout_ms: int) -> float:
        """Stop claiming, give back what has not begun, and return the moment at which the rest must end."""
        self._pipeline.source.tell(StopClaiming())
        return time.monotonic() + timeout_ms / 1000

    def is_drained(self, deadline: float) -> bool:
        """Whether nothing is held any more, neither steps nor events from outside of steps, or the time is up."""
        parts = self._pipeline.parts
        is_idle = len(parts.ledger) == 0 and parts.publications.count == 0 and self._has_no_publication_waiting()
        return is_idle or time.monotonic() >= deadline

    def give_back(self, deadline: float) -> Sequence[str]:
        """Return what has no result to the queue, wait for the last commits until `deadline`, and name what was left.

        Results that could not be committed by then are left too: their leases are settled when this process is dead.
        """
        ledger = self._pipeline.parts.ledger
        items = [*ledger.take_waiting(), *ledger.give_up_running()]
        if items:
            self._system.address(PUBLISHER).tell(give_back(items))
        ledger.emptied.wait(max(0.0, deadline - time.monotonic()))
        left = {item.step.token: item.step for item in (*items, *ledger.items())}
        return [f"{step.name} of task {step.task.task_uuid}" for step in left.values()]

    def _has_no_publication_waiting(self) -> bool:
        """Whether the router has nothing in its mailbox; what it takes in is counted by then."""
        return all(
            status.mailbox_depth == 0 and status.busy_seconds is None
            for status in self._system.actors()
            if status.name == ROUTER
        )

    def _beat(self, supervisor: ActorAddress) -> None:
        self._beats += 1
        running = sum(1 for token in self._block.tokens if token)
        self._return_overdue()
        depths = {status.name: status.mailbox_depth for status in self._system.actors()}
        standstill = self._look_for_progress()
        self._block.beat(time.monotonic_ns(), self._beats)
        if lost := self._lost_lines.take():
            self._block.counter(metrics.DROPS, (STDERR, NOT_WRITTEN)).add(lost)
        self._block.gauge(metrics.STEPS_ACTIVE, ()).set(running)
        self._block.gauge(metrics.WORKERS_SATURATION, ()).set(running / self._settings.worker.concurrency)
        for actor, depth in depths.items():
            self._block.gauge(metrics.ACTORS_MAILBOX_DEPTH, (actor,)).set(depth)
        supervisor.tell(
            Heartbeat(
                in_flight=len(self._pipeline.parts.ledger),
                waits_for_database=any(session.away_since is not None for session in (self._claims, self._commits)),
                stalled=standstill.station if standstill is not None else None,
                stalled_ms=round(standstill.seconds * 1000) if standstill is not None else 0,
                finished=self._pipeline.parts.ledger.finished,
            )
        )
        if exemplars := self._block.take_exemplars():
            # They are only samples: where the link has no room for them they are left out.
            with suppress(LinkFullError, ProtocolError):
                self._exemplars(exemplars)

    def _look_for_progress(self) -> Standstill | None:
        """Look at every station; one that stands still for half of its time gets its stack into the log."""
        standstill = self._progress.look(
            time.monotonic(),
            stations(self._pipeline, self._system, self._block, claims=self._claims, commits=self._commits),
        )
        is_long = standstill is not None and standstill.seconds > self._settings.worker.hang_timeout_ms / 2000
        if standstill is not None and is_long and not self._is_stall_logged:
            logger.error(
                "A part of this worker makes no progress",
                actor=standstill.station,
                stalled_s=round(standstill.seconds, 1),
                stacks=thread_stacks(),
            )
        self._is_stall_logged = is_long
        return standstill

    def _return_overdue(self) -> None:
        """Let go of waiting steps when no executor has become free for a while."""
        ledger = self._pipeline.parts.ledger
        running = ledger.items(Stage.RUNNING)
        busy_since = max((item.began_at for item in running), default=0.0)
        is_busy = len(running) == self._settings.worker.concurrency and time.monotonic() - busy_since >= _OVERDUE_S
        if is_busy and ledger.items(Stage.WAITING):
            self._pipeline.source.tell(ReturnOverdue())

    def _return_starved(self, item: LedgerItem) -> bool:
        """Give back, uncounted, the step of an async handler that another one kept from the event loop."""
        limit_at = item.began_at + item.step.plan.timeout_ms / 1000
        if item.handled is not None or not self._pipeline.parts.loop.is_blocked_by_another(item.step.token, limit_at):
            return False
        if self._pipeline.parts.ledger.give_up(item):
            with WorkingOn(item.step):
                logger.warning(
                    "An async handler had no turn: another one blocks the event loop; its step goes back",
                    step_name=item.step.name,
                    step_uuid=item.step.step_uuid,
                    task_uuid=item.step.task.task_uuid,
                )
            self._system.address(PUBLISHER).tell(give_back([item]))
        return True

    def _abandon(self, item: LedgerItem) -> bool:
        """Fail the attempt of a handler that does not return, in its place; its thread is left behind."""
        step, handled = item.step, item.handled
        now = time.monotonic()
        if handled is None:
            handled = HandledStep(timed_out(step), (), (now - item.began_at) * 1000, item.began_at, {})
        else:
            step = without_publishers(step)
        finished = conclude(
            step,
            handled,
            now=datetime.now(UTC),
            ended_at=now,
            random=0.5,
            limits=self._pipeline.size_limits,
        )
        if item.stage is not Stage.RUNNING or not self._pipeline.parts.ledger.finish(item, finished):
            return False
        item.cancelled = True
        with WorkingOn(step):
            logger.error(
                "A handler does not return past its time limit; the worker is replaced",
                step_name=step.name,
                step_uuid=step.step_uuid,
                task_uuid=step.task.task_uuid,
            )
        self._pipeline.router.tell(StepFinished(finished), trace=step.trace, correlation_id=step.task.correlation_id)
        return True
