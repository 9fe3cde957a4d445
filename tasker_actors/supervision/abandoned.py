"""Tasks whose waiting step is gone, cancelled by the leader (a part of the MaintenanceActor's round)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from tasker_actors.postgres.session import Pool
from tasker_actors.postgres.sub_workflows import cancel_abandoned
from tasker_actors.supervision.tracing import SupervisorTracing
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.workflow.states import TaskState

logger = get_logger("tasker_actors.maintenance")


def cancel_abandoned_tasks(
    pool: Pool, *, cancel: Sequence[Callable[[Mapping[int, Sequence[int]]], None]], tracing: SupervisorTracing
) -> None:
    """Cancel them and tell their handlers: whoever ended the waiting step did not come to it, or is no request."""
    for cancellation in cancel_abandoned(pool):
        by_worker: dict[int, list[int]] = defaultdict(list)
        for lease in cancellation.leases:
            by_worker[lease.worker_id].append(lease.token)
        if by_worker:
            for tell in cancel:
                tell(by_worker)
        tracing.ended(cancellation, TaskState.CANCELLED)
        logger.info("A task was cancelled whose waiting step is gone", task_uuid=cancellation.task_uuid)
