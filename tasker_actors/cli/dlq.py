"""`dlq list`, `show`, `send` and `resolve`: entries of tasks that failed or stand still."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Json, Reason, TaskUuid, Url, checked_uuid
from tasker_actors.workflow.dead_tasks import DlqReason, DlqStatus

_COLUMNS = ("dlq_timestamp", "dlq_entry_uuid", "task_uuid", "task", "reason", "status", "resolved_by")
_CLOSED = ", ".join(status for status in DlqStatus if status is not DlqStatus.PENDING)

EntryUuid = Annotated[str, typer.Argument(metavar="ENTRY_UUID", help="The entry.", callback=checked_uuid)]


def list_entries(
    *,
    status: Annotated[
        DlqStatus | None, typer.Option("--status", metavar="STATUS", help=f"In this state: {', '.join(DlqStatus)}.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, metavar="N", help="At most N of them.")] = 50,
    offset: Annotated[int, typer.Option("--offset", min=0, metavar="N", help="Pass over the newest N.")] = 0,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List entries, the newest first."""
    with SupervisorClient(url, api_key) as client:
        entries = client.get_list("/v1/dlq", resolution_status=status, limit=limit, offset=offset)
    if as_json:
        output.write_json(entries)
    else:
        output.write_table(_COLUMNS, (_row(entry) for entry in entries), empty="there are no such entries")


def show(task_uuid: TaskUuid, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a task's newest entry, with what the task was like then."""
    with SupervisorClient(url, api_key) as client:
        entry = client.get(f"/v1/dlq/task/{task_uuid}")
    if as_json:
        output.write_json(entry)
        return
    snapshot = entry.pop("task_snapshot")
    failures = snapshot.pop("failures", [])
    output.write_fields({**entry, **{f"snapshot.{key}": value for key, value in snapshot.items()}})
    output.write_line("")
    rows = ((step["name"], f"{step['attempts']}/{step['max_attempts']}", _message(step["error"])) for step in failures)
    output.write_table(("failed step", "attempts", "error"), rows, empty="no step had failed")


def send(
    task_uuid: TaskUuid,
    *,
    reason: Reason,
    sent_by: Annotated[str, typer.Option("--sent-by", metavar="WHO", help="Who wants it.")],
    dlq_reason: Annotated[
        DlqReason, typer.Option("--as", metavar="REASON", help=f"One of {', '.join(DlqReason)}.")
    ] = DlqReason.MANUAL_DLQ,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Make an entry for a task.

    Somebody should look at it; the task itself is left alone.
    """
    body = {"sent_by": sent_by, "reason": reason, "dlq_reason": dlq_reason}
    with SupervisorClient(url, api_key) as client:
        entry = client.post(f"/v1/dlq/task/{task_uuid}", orjson.dumps(body))
    if as_json:
        output.write_json(entry)
    else:
        output.write_fields({"dlq_entry_uuid": entry["dlq_entry_uuid"], "status": entry["resolution_status"]})


def resolve(
    entry_uuid: EntryUuid,
    *,
    status: Annotated[
        DlqStatus, typer.Option("--status", metavar="STATUS", help=f"How it ended: {_CLOSED}.")
    ] = DlqStatus.MANUALLY_RESOLVED,
    notes: Annotated[str | None, typer.Option("--notes", metavar="TEXT", help="What was found and done.")] = None,
    resolved_by: Annotated[str, typer.Option("--resolved-by", metavar="WHO", help="Who looked into it.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Close an entry, and say what was found.

    With --status pending it stays open, and only what is known so far is written down. Nothing is done to the task: see
    `task reset` and the commands for steps.
    """
    body = {"resolution_status": status, "resolved_by": resolved_by}
    if notes is not None:
        body["resolution_notes"] = notes
    with SupervisorClient(url, api_key) as client:
        answer = client.patch(f"/v1/dlq/entry/{entry_uuid}", orjson.dumps(body))
    if as_json:
        output.write_json(answer)
    else:
        output.write_fields({"dlq_entry_uuid": answer["dlq_entry_uuid"], "status": status.value})


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    snapshot = entry["task_snapshot"]
    return (
        entry["dlq_timestamp"],
        entry["dlq_entry_uuid"],
        entry["task_uuid"],
        f"{snapshot.get('namespace')}/{snapshot.get('task_name')}",
        entry["dlq_reason"],
        entry["resolution_status"],
        entry["resolved_by"],
    )


def _message(error: Any) -> object:
    return error.get("message") if isinstance(error, dict) else error
