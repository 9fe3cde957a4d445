"""What a waiting step of a test is told of the tasks that it waited for, as the database would put it together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from tasker_actors.events.json_size import stored_bytes
from tasker_actors.workflow.states import DONE_STEP_STATES, StepState, TaskState

if TYPE_CHECKING:
    from tasker_actors.testing.execution import Execution
    from tasker_actors.testing.records import StepRun

MAX_RESULTS_BYTES: Final = 256 * 1024
"""As in `tasker.children_v1`."""
_MAX_MESSAGE: Final = 1000


def children_of(awaited: Sequence[Execution]) -> list[dict[str, Any]]:
    """Describe tasks that are over, in order, with their results as long as there is room for them."""
    children, total = [], 0
    for execution in awaited:
        last = [step for step in execution.progress.last_steps() if step.state in DONE_STEP_STATES]
        total += sum(stored_bytes(orjson.dumps(step.result)) for step in last)
        namespace, name, version = execution.template.identity
        children.append(
            {
                "task_uuid": execution.facts.task_uuid,
                "namespace": namespace,
                "name": name,
                "version": version,
                "status": execution.progress.status,
                "results": {step.name: step.result for step in last} if total <= MAX_RESULTS_BYTES else None,
                "error": _error(execution),
            }
        )
    return children


def _error(execution: Execution) -> Mapping[str, Any] | None:
    if execution.progress.status is not TaskState.ERROR:
        return None
    failed: StepRun = next(step for step in execution.progress.steps.values() if step.state is StepState.ERROR)
    assert failed.failure is not None  # noqa: S101 - what is in this state has one
    return {
        "step_name": failed.name,
        "error_type": failed.failure.error_type,
        "message": failed.failure.message[:_MAX_MESSAGE],
    }
