"""`task reset`: failed tasks that run again, named or found by filters."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.durations import moment_ago
from tasker_actors.cli.errors import WorkFailedError
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Json, NewerThan, OlderThan, Reason, Url, checked_uuids
from tasker_actors.errors import ConfigurationError, RequestRefusedError


def reset(
    task_uuids: Annotated[
        list[str] | None, typer.Argument(metavar="TASK_UUID", help="The tasks.", callback=checked_uuids)
    ] = None,
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAMESPACE", help="All failed ones of this namespace.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="All failed ones of templates with this name.")
    ] = None,
    error_type: Annotated[
        str | None, typer.Option("--error-type", metavar="TYPE", help="With a step that failed with this error type.")
    ] = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: Annotated[bool, typer.Option("--all", help="All failed tasks.")] = False,
    reason: Reason,
    reset_by: Annotated[str, typer.Option("--reset-by", metavar="WHO", help="Who does it.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Let the failed steps of tasks run again.

    Of named tasks, of those that filters find, or of all. A task that has nothing to reset is refused, and the exit
    code is 1.
    """
    given = {
        "namespace": namespace,
        "name": name,
        "error_type": error_type,
        "failed_before": moment_ago("--older-than", older_than),
        "failed_after": moment_ago("--newer-than", newer_than),
    }
    filters = {key: value for key, value in given.items() if value is not None}
    chosen = list(task_uuids or [])
    if sum((bool(chosen), everything, bool(filters))) != 1:
        msg = "name the tasks to reset, or give filters, or --all"
        raise ConfigurationError(msg)
    who = {"reset_by": reset_by, "reason": reason}
    with SupervisorClient(url, api_key) as client:
        if chosen:
            tasks, refused = _named(client, chosen, who)
        else:
            tasks, refused = _found(client, {**who, **filters, **({"all": True} if everything else {})}), []
    if as_json:
        output.write_json({"tasks": tasks, "refused": refused})
    else:
        rows = ((each["task_uuid"], each["reset_steps"]) for each in tasks)
        output.write_table(("task_uuid", "steps"), rows, empty="there are no such tasks")
    if refused:
        lines = [f"  {each['task_uuid']}: {each['message']}" for each in refused]
        msg = "\n".join([f"{len(refused)} tasks were not reset", *lines])
        raise WorkFailedError(msg)


def _named(
    client: SupervisorClient, task_uuids: list[str], who: dict[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    done: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for task_uuid in task_uuids:
        try:
            done.append(client.post(f"/v1/tasks/{task_uuid}/reset", orjson.dumps(who)))
        except RequestRefusedError as error:
            if error.status not in (404, 409):
                raise
            refused.append({"task_uuid": task_uuid, **error.error})
    return done, refused


def _found(client: SupervisorClient, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Reset batch after batch, each behind the last task of the one before: what fails again is not reset twice."""
    tasks: list[dict[str, Any]] = []
    after: str | None = None
    with output.progress_bar() as progress:
        bar = progress.add_task("Resetting tasks", total=None)
        while True:
            batch = client.post(
                "/v1/tasks/reset", orjson.dumps(request if after is None else {**request, "after": after})
            )
            tasks.extend(batch["tasks"])
            progress.update(bar, completed=len(tasks))
            after = batch["next_after"]
            if after is None:
                return tasks
