"""What becomes of tasks that nobody waits for any more, because of what a request did to the waiting step."""

from __future__ import annotations

from tasker_actors.postgres.session import PASSING_ERRORS
from tasker_actors.postgres.sub_workflows import cancel_abandoned
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.web.runtime import Runtime

logger = get_logger("tasker_actors.web")


def cancel_children(runtime: Runtime) -> None:
    """Cancel them now; what the database does not answer is done in the next round of maintenance, and no error."""
    try:
        for cancellation in cancel_abandoned(runtime.pool):
            runtime.task_cancelled(cancellation)
    except PASSING_ERRORS as error:
        logger.warning("Tasks that a step had waited for are cancelled later", error=str(error))
