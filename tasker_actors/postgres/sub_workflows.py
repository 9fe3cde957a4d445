"""Tasks that steps have started, where nobody waits for them any more."""

from __future__ import annotations

from collections.abc import Iterator

from tasker_actors.postgres.session import Pool, named_statements, session
from tasker_actors.postgres.tasks import Cancellation, cancel_task

_ABANDONED = "the step that waited for it waits no more"


def cancel_abandoned(pool: Pool) -> Iterator[Cancellation]:
    """Cancel the tasks for which cancelled, failed or reset steps have waited, and theirs, and yield what was done.

    However such a step ended, it is found here: whoever cancels a task asks for this at once, and the leader in every
    round, so that a crash in between costs a second. Each task is cancelled in a transaction of its own. Raises what
    `session` raises.
    """
    while True:
        cancelled = 0
        for task_uuid in _abandoned(pool):
            cancellation = cancel_task(pool, task_uuid, by="tasker-actors", reason=_ABANDONED)
            if cancellation is not None and cancellation.cancelled:
                cancelled += 1
                yield cancellation
        with session(pool) as connection:
            connection.execute(named_statements()["forget_abandoned"])
        if not cancelled:
            return


def _abandoned(pool: Pool) -> list[str]:
    with session(pool) as connection:
        return [row[0] for row in connection.execute(named_statements()["abandoned_tasks"])]
