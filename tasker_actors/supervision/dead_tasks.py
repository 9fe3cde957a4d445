"""The leader's look at tasks that failed or stand still (a part of the MaintenanceActor's round)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from tasker_actors.actors import LocalAddress
from tasker_actors.messages import Count
from tasker_actors.postgres.session import Pool, session
from tasker_actors.postgres.task_dead_letters import (
    Entry,
    close_entries,
    enter_failed_tasks,
    enter_stale_task,
    stale_tasks,
    staleness_limits,
)
from tasker_actors.settings.dlq import DlqSettings
from tasker_actors.supervision.tracing import SupervisorTracing
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.workflow.dead_tasks import DlqReason
from tasker_actors.workflow.states import TaskState

logger = get_logger("tasker_actors.maintenance")

Cancel = Callable[[Mapping[int, Sequence[int]]], None]


class DeadTasks:
    """Makes entries of failed tasks in every round, and looks for those that stand still once an interval."""

    def __init__(self, pool: Pool, settings: DlqSettings, task_failed: Callable[[Entry], None]) -> None:
        self._pool = pool
        self._settings = settings
        self._task_failed = task_failed
        self._next_look = 0.0

    def round(self, now: float) -> None:
        """Do what is due; raises what `session` raises, and the next round goes on."""
        if self._settings.failed_tasks:
            with session(self._pool) as connection:
                enter_failed_tasks(connection, limit=self._settings.max_failed_tasks)
        if now >= self._next_look:
            self._next_look = now + self._settings.interval_ms / 1000
            self._look()

    def _look(self) -> None:
        with session(self._pool) as connection:
            close_entries(connection)
            if not self._settings.stale_tasks:
                return
            found = stale_tasks(connection, staleness_limits(self._settings), limit=self._settings.max_stale_tasks)
            for task in found:
                entry = enter_stale_task(connection, task)
                if entry is None or (entry.dlq_entry_uuid is None and not entry.failed_steps):
                    continue  # it has gone on
                logger.warning(
                    "A task stands still",
                    task_uuid=task.task_uuid,
                    state=task.current_state,
                    minutes=task.age_minutes if task.too_old else task.minutes,
                    threshold_minutes=task.threshold,
                    failed_steps=entry.failed_steps,
                )
                if entry.failed_steps:
                    self._task_failed(entry)


def failed_by_time(entry: Entry, *, cancel: Sequence[Cancel], stats: LocalAddress, tracing: SupervisorTracing) -> None:
    """Tell everybody of a task that failed because it stood still: its handlers, the counters, its trace."""
    by_worker: dict[int, list[int]] = defaultdict(list)
    for lease in entry.leases:
        by_worker[lease.worker_id].append(lease.token)
    if by_worker:
        for tell in cancel:
            tell(by_worker)
    stats.tell(Count(metrics.TASK_FAILURES, (entry.namespace, entry.name, DlqReason.STALENESS_TIMEOUT.value)))
    tracing.ended(entry, TaskState.ERROR)
