"""MaintenanceActor: heartbeats of this supervisor's workers, and the periodic work of one leader (DESIGN 3 rule 14)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from tasker_actors.actors import Actor, LocalAddress
from tasker_actors.messages import Maintain, ShowGauges
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.limits import repair_limits
from tasker_actors.postgres.queue_depths import read_queue_depths
from tasker_actors.postgres.retention import Prunable, prune
from tasker_actors.postgres.session import PASSING_ERRORS, PermissionMissingError, Pool, session
from tasker_actors.postgres.workers import (
    expire_leases,
    forget_workers,
    heartbeat,
    other_supervisors,
    stale_workers,
    try_lead,
)
from tasker_actors.settings import Settings
from tasker_actors.supervision.abandoned import cancel_abandoned_tasks
from tasker_actors.supervision.dead_tasks import Cancel, DeadTasks, failed_by_time
from tasker_actors.supervision.settlement import Settlement
from tasker_actors.supervision.tracing import SupervisorTracing
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.maintenance")

_DEPTH_INTERVAL_S = 2.0
_DEPTH_SHARE = 0.05
"""Where there are so many queues that looking at them takes long, it is done less often: this share of the time."""

_RETENTION_INTERVAL_S = 60.0
_LIMITS_INTERVAL_S = 15.0
_DOING = "maintenance"


class MaintenanceActor(Actor):
    """One round at a time; a round that the database does not answer is skipped, the next one does its work.

    Every supervisor sends heartbeats. Only the one that holds the lock of a round gives back expired leases, settles
    workers of hosts that vanished, enters dead tasks, cancels what no step waits for any more, and deletes what is past
    its retention.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        settings: Settings,
        settlement: Settlement,
        stats: LocalAddress,
        supervisor_id: str,
        others: Callable[[bool], None],
        availability: Availability,
        revive: Callable[[], None],
        cancel: Sequence[Cancel],
        tracing: SupervisorTracing,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._settlement = settlement
        self._stats = stats
        self._supervisor_id = supervisor_id
        self._others = others
        self._availability = availability
        self._revive = revive
        self._dead_tasks = DeadTasks(
            pool, settings.dlq, partial(failed_by_time, cancel=cancel, stats=stats, tracing=tracing)
        )
        self._cancel_abandoned = partial(cancel_abandoned_tasks, pool, cancel=cancel, tracing=tracing)
        self._next_depths = 0.0
        self._next_retention = 0.0
        self._next_limits = 0.0
        self._spare_until = 0.0
        self._lacks: str | None = None

    def receive(self, message: Maintain) -> None:
        """Do one round; what waits behind it is the same round again, so it is dropped."""
        self.take_waiting(100, Maintain)
        try:
            self._round(message)
        except PASSING_ERRORS as error:
            # Others could not extend leases or send heartbeats either, whether the server was started anew or not.
            self._spare_until = time.monotonic() + self._settings.database.restart_grace_ms / 1000
            self._availability.failed(_DOING, str(error))
            self._revive()
        except PermissionMissingError as error:
            if str(error) != self._lacks:
                self._lacks = str(error)
                logger.error("Maintenance cannot be done", error=str(error))
        else:
            self._lacks = None
            self._availability.worked(_DOING)

    def _round(self, message: Maintain) -> None:
        began = time.monotonic()
        with session(self._pool) as connection:
            heartbeat(connection, message.workers)
            self._others(other_supervisors(connection, self._supervisor_id))
        now = time.monotonic()
        if now >= self._next_depths:
            self._show_depths()
            ended = time.monotonic()
            self._next_depths = now + max(_DEPTH_INTERVAL_S, (ended - now) / _DEPTH_SHARE)
        if time.monotonic() - began > self._settings.maintenance.stale_worker_ms / 2000:
            # Whatever held this round up, such as a lock on the steps, holds up others and their heartbeats too.
            self._spare_until = time.monotonic() + self._settings.database.restart_grace_ms / 1000
        with session(self._pool) as connection, connection.transaction():
            # The lock of the round ends with this transaction, whatever becomes of this process.
            if try_lead(connection):
                self._lead(time.monotonic())

    def _lead(self, now: float) -> None:
        if now >= self._spare_until:
            self._take_from_the_dead()
        self._dead_tasks.round(now)
        self._cancel_abandoned()
        if now >= self._next_limits:
            self._next_limits = now + _LIMITS_INTERVAL_S
            with session(self._pool) as connection:
                repair_limits(connection)
        if now >= self._next_retention:
            self._next_retention = now + _RETENTION_INTERVAL_S
            self._retain()

    def _take_from_the_dead(self) -> None:
        stale_ms = self._settings.maintenance.stale_worker_ms
        grace_ms = self._settings.database.restart_grace_ms
        with session(self._pool) as connection:
            # First, because the next statement may have to wait, and heartbeats would be old by then.
            stale = stale_workers(connection, supervisor_id=self._supervisor_id, stale_ms=stale_ms, grace_ms=grace_ms)
            returned = expire_leases(connection, grace_ms=grace_ms)
            forget_workers(connection)
        if returned:
            logger.warning("Leases had expired and were given back", steps=returned)
        self._settle(stale)

    def _settle(self, stale: Sequence[int]) -> None:
        for worker_id in stale:
            logger.warning("A worker was not heard of and is settled as dead", worker_id=worker_id)
            self._settlement.settle(worker_id, running=None, reason="no heartbeat")

    def _show_depths(self) -> None:
        with session(self._pool) as connection:
            depths = read_queue_depths(connection)
        labels = {depth: (depth.namespace, depth.queue) for depth in depths}
        self._stats.tell(ShowGauges(metrics.QUEUE_DEPTH, {labels[depth]: float(depth.depth) for depth in depths}))
        self._stats.tell(
            ShowGauges(
                metrics.QUEUE_OLDEST_MESSAGE_AGE,
                {labels[depth]: depth.oldest_age_s for depth in depths},
            )
        )

    def _retain(self) -> None:
        retention = self._settings.retention
        for what, days in (
            (Prunable.FINISHED_TASKS, retention.finished_tasks_days),
            (Prunable.ATTEMPTS, retention.attempts_days),
            (Prunable.DEAD_LETTERS, retention.dead_letters_days),
            (Prunable.TASK_DEAD_LETTERS, retention.task_dead_letters_days),
            (Prunable.STEP_AUDITS, retention.step_audits_days),
        ):
            if days is not None:
                with session(self._pool) as connection:
                    deleted = prune(connection, what, older_than=timedelta(days=days))
                if deleted:
                    logger.info("Deleted what was past its retention", what=what.value, count=deleted)
