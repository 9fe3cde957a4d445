"""`task list`, `get`, `steps` and `cancel`: tasks as the supervisor shows them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, CorrelationId, Cursor, Json, TaskUuid, Url
from tasker_actors.workflow.states import TaskState

_TASK_COLUMNS = ("task_uuid", "template", "status", "done", "created_at", "correlation_id")
_STEP_COLUMNS = ("step_uuid", "name", "status", "attempts", "updated_at", "error")
_FIELDS = (
    "task_uuid",
    "status",
    "execution_status",
    "health_status",
    "recommended_action",
    "completion_percentage",
    "created_at",
    "start_at",
    "updated_at",
    "completed_at",
    "priority",
    "tags",
    "initiator",
    "source_system",
    "reason",
    "correlation_id",
    "parent_correlation_id",
    "context",
)


def list_tasks(
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAMESPACE", help="Of this namespace.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Of templates with this name.")] = None,
    status: Annotated[
        TaskState | None, typer.Option("--status", metavar="STATE", help=f"In this state: {', '.join(TaskState)}.")
    ] = None,
    correlation_id: CorrelationId = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="TAG", help="With this tag.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, metavar="N", help="Most tasks of one page.")] = 50,
    cursor: Cursor = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List tasks, the newest first."""
    with SupervisorClient(url, api_key) as client:
        page = client.get(
            "/v1/tasks",
            namespace=namespace,
            name=name,
            status=status,
            correlation_id=correlation_id,
            tag=tag,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        output.write_json(page)
        return
    output.write_table(_TASK_COLUMNS, (_task_row(task) for task in page["tasks"]), empty="there are no such tasks")
    if page["next_cursor"] is not None:
        output.note(f"there are more: --cursor {page['next_cursor']}")


def get(task_uuid: TaskUuid, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show one task with its steps."""
    with SupervisorClient(url, api_key) as client:
        task = client.get(f"/v1/tasks/{task_uuid}")
    if as_json:
        output.write_json(task)
        return
    output.write_fields({"template": _template(task), **{name: task.get(name) for name in _FIELDS}})
    output.write_line("")
    _write_steps(task["steps"])


def steps(task_uuid: TaskUuid, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show the steps of a task.

    --json has their results too.
    """
    with SupervisorClient(url, api_key) as client:
        found = client.get_list(f"/v1/tasks/{task_uuid}/workflow_steps")
    if as_json:
        output.write_json({"steps": found})
    else:
        _write_steps(found)


def cancel(
    task_uuid: TaskUuid,
    *,
    cancelled_by: Annotated[str | None, typer.Option("--cancelled-by", metavar="WHO", help="Who does it.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Cancel a task.

    Nothing of it begins any more, and the result of what runs now is not kept.
    """
    with SupervisorClient(url, api_key) as client:
        task = client.delete(f"/v1/tasks/{task_uuid}", cancelled_by=cancelled_by, reason=reason)
    if as_json:
        output.write_json(task)
    else:
        output.write_fields({name: task.get(name) for name in ("task_uuid", "status", "cancelled_by", "cancel_reason")})


def _task_row(task: dict[str, Any]) -> tuple[object, ...]:
    done = f"{task['completed_steps']}/{task['total_steps']}"
    return task["task_uuid"], _template(task), task["status"], done, task["created_at"], task["correlation_id"]


def _template(task: dict[str, Any]) -> str:
    return f"{task['namespace']}/{task['name']}@{task['version']}"


def _write_steps(steps_of_task: list[dict[str, Any]]) -> None:
    rows = (
        (
            step["step_uuid"],
            step["name"],
            "pending, blocked by a failure" if step["blocked"] else step["status"],
            f"{step['attempts']}/{step['max_attempts']}",
            step["updated_at"],
            (step["error"] or {}).get("message"),
        )
        for step in steps_of_task
    )
    output.write_table(_STEP_COLUMNS, rows, empty="the task has no steps")
