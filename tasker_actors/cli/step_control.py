"""`task reset-step`, `resolve-step`, `complete-step` and `audit`: what people do to steps, and the record of it."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.errors import InputFileError
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Json, Reason, StepName, TaskUuid, Url
from tasker_actors.errors import ConfigurationError
from tasker_actors.identifiers import is_uuid
from tasker_actors.workflow.nearest import hint

_COLUMNS = ("recorded_at", "from", "to", "by", "reason", "worker", "ms")


def reset_step(
    task_uuid: TaskUuid,
    step: StepName,
    *,
    reason: Reason,
    reset_by: Annotated[str, typer.Option("--reset-by", metavar="WHO", help="Who does it.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Let a step run again that failed or waits for a retry.

    It has all its attempts again, what it alone blocked waits for it, and its task goes on.
    """
    body = {"action_type": "reset_for_retry", "reason": reason, "reset_by": reset_by}
    _control(url, api_key, task_uuid, step, body, as_json=as_json)


def resolve_step(
    task_uuid: TaskUuid,
    step: StepName,
    *,
    reason: Reason,
    resolved_by: Annotated[str, typer.Option("--resolved-by", metavar="WHO", help="Who does it.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Let a step count as done without a result.

    The steps after it run.
    """
    body = {"action_type": "resolve_manually", "reason": reason, "resolved_by": resolved_by}
    _control(url, api_key, task_uuid, step, body, as_json=as_json)


def complete_step(
    task_uuid: TaskUuid,
    step: StepName,
    *,
    result: Annotated[str, typer.Option("--result", metavar="JSON", help="What the steps after it get.")],
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="Kept with the record of who did it.")
    ] = None,
    reason: Reason,
    completed_by: Annotated[str, typer.Option("--completed-by", metavar="WHO", help="Who does it.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Complete a step with a result of yours.

    It is as if its handler had returned it, but no event is published.
    """
    data = {"result": _json("--result", result)}
    if metadata is not None:
        data["metadata"] = _json("--metadata", metadata)
    body = {
        "action_type": "complete_manually",
        "reason": reason,
        "completed_by": completed_by,
        "completion_data": data,
    }
    _control(url, api_key, task_uuid, step, body, as_json=as_json)


def audit(
    task_uuid: TaskUuid, step: StepName, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False
) -> None:
    """Show what became of a step.

    What its attempts came to, and what people did to it, with who and why.
    """
    with SupervisorClient(url, api_key) as client:
        records = client.get_list(f"{_path(client, task_uuid, step)}/audit")
    if as_json:
        output.write_json(records)
        return
    output.write_table(_COLUMNS, (_row(record) for record in records), empty="nothing became of the step yet")


def _control(url: str, api_key: str | None, task_uuid: str, step: str, body: dict[str, Any], *, as_json: bool) -> None:
    with SupervisorClient(url, api_key) as client:
        path = _path(client, task_uuid, step)
        changed = client.patch(path, orjson.dumps(body))
        task = client.get(f"/v1/tasks/{task_uuid}")
    if as_json:
        output.write_json(changed)
    else:
        found = next(each for each in task["steps"] if each["step_uuid"] == path.rpartition("/")[2])
        output.write_fields({"step": found["name"], "status": found["status"], "task": task["status"]})


def _path(client: SupervisorClient, task_uuid: str, step: str) -> str:
    """Return the path of a step, whose id is looked up where its name was given."""
    step_uuid = step.lower()
    if not is_uuid(step):
        known = {each["name"]: each["step_uuid"] for each in client.get(f"/v1/tasks/{task_uuid}")["steps"]}
        if step not in known:
            msg = f"task {task_uuid} has no step {step!r}{hint(step, known)}"
            raise ConfigurationError(msg)
        step_uuid = known[step]
    return f"/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}"


def _json(option: str, text: str) -> orjson.Fragment:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        msg = f"{option}: not valid JSON: {error}"
        raise InputFileError(msg) from error
    return orjson.Fragment(text)


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    return (
        record["recorded_at"],
        record["from_state"],
        record["to_state"],
        record["performed_by"],
        record["reason"],
        record["worker_uuid"],
        record["execution_time_ms"],
    )
