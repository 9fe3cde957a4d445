"""What a handler says to wait for tasks that it has started, before it is called again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasker_actors.identifiers import is_uuid
from tasker_actors.workflow.outcome_fault import OutcomePart, shown

INVALID_WAIT = "invalid_wait"
WAIT = "wait_for_tasks"


def asks_to_wait(metadata: Mapping[str, Any]) -> bool:
    """Tell whether a success with this metadata waits for tasks, and does not end the step."""
    return metadata.get(WAIT) is True


def awaited_tasks(result: Any, *, place: str, max_tasks: int) -> tuple[str, ...]:
    """Return the ids of the tasks to wait for, each once; OutcomeFault for a result that names none or too many."""
    said = OutcomePart(result, INVALID_WAIT, place, "result")
    said.choice("type", [WAIT])
    tasks = said.list("task_uuids")
    if not tasks:
        raise said.fault("task_uuids", "names no task; where there is nothing to wait for, return the step's result")
    if len(tasks) > max_tasks:
        raise said.fault("task_uuids", f"names {len(tasks)} tasks; sub_workflows.max_tasks is {max_tasks}")
    for number, task in enumerate(tasks):
        if not isinstance(task, str) or not is_uuid(task):
            raise said.fault(f"task_uuids[{number}]", f"must be the UUID of a task, not {shown(task)}")
    return tuple(dict.fromkeys(task.lower() for task in tasks))
