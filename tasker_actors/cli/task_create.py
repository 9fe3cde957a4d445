"""`task create`: one task from a context, or one for each line of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.durations import seconds_of
from tasker_actors.cli.errors import WorkFailedError
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Json, Url, checked_uuid
from tasker_actors.cli.task_batch import create_many
from tasker_actors.cli.task_request import TaskRequest, read_context
from tasker_actors.cli.task_wait import SUCCEEDED, TaskWait
from tasker_actors.errors import ConfigurationError


def create(  # noqa: PLR0913 - the options of a command
    template: Annotated[
        str, typer.Argument(metavar="NAMESPACE/NAME[@VERSION]", help="The template; its newest version if left out.")
    ],
    *,
    context: Annotated[
        str | None, typer.Option("--context", metavar="JSON", help="Context of one task: a JSON object.")
    ] = None,
    context_file: Annotated[
        Path | None, typer.Option("--context-file", metavar="FILE", help="The same from a file; - is standard input.")
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option("--jsonl", metavar="FILE", help="One context a line, one task each; - is standard input."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the tasks are finished; exit code 1 if one did not complete.")
    ] = False,
    correlation_id: Annotated[
        str | None,
        typer.Option(
            "--correlation-id",
            metavar="UUID",
            help="Correlation id of all these tasks; each gets a new one by default.",
            callback=checked_uuid,
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", metavar="TEXT", help="One task: a second one of this template with it is refused."
        ),
    ] = None,
    unique_for: Annotated[
        str | None,
        typer.Option(
            "--unique-for",
            metavar="TIME",
            help="One task in each period of this length, as in 1h, for a key, else for a context.",
        ),
    ] = None,
    run_at: Annotated[
        str | None,
        typer.Option("--run-at", metavar="TIME", help="Begin at this moment, as in 2025-12-01T10:30:00+01:00."),
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="TIME", help="Begin this much later, as in 2h.")
    ] = None,
    priority: Annotated[
        int, typer.Option("--priority", min=0, max=1000, metavar="N", help="As if it were N hours older, up to 1000.")
    ] = 0,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Create a task, or many of them, and print their ids.

    Exactly one of --context, --context-file and --jsonl says what the tasks are about. A file of many lines is checked
    as a whole first; then up to 1,000 tasks at a time are created, all or none. Interrupting a wait (exit code 130)
    does not stop the tasks.
    """
    if sum(source is not None for source in (context, context_file, jsonl)) != 1:
        msg = "give exactly one of --context, --context-file and --jsonl"
        raise ConfigurationError(msg)
    if jsonl is not None and idempotency_key is not None:
        msg = "--idempotency-key is of one task, and --jsonl makes many: --unique-for makes each unique by its context"
        raise ConfigurationError(msg)
    request = TaskRequest.for_template(
        template,
        correlation_id,
        idempotency_key=idempotency_key,
        unique_for_seconds=seconds_of("--unique-for", unique_for),
        priority=priority,
    ).starting(run_at, delay)
    with SupervisorClient(url, api_key) as client:
        if jsonl is not None:
            create_many(client, request, jsonl, wait=wait, as_json=as_json)
        else:
            _create_one(client, request, read_context(context, context_file), wait=wait, as_json=as_json)


def _create_one(client: SupervisorClient, request: TaskRequest, context: bytes, *, wait: bool, as_json: bool) -> None:
    task = client.post("/v1/tasks", request.body(context))
    if not as_json:
        output.write_fields({name: task[name] for name in ("task_uuid", "correlation_id", "version")})
    try:
        if wait:
            task = _wait(client, request, task)
    except KeyboardInterrupt:
        output.note("no longer waiting; the task goes on")
        raise
    finally:
        # Also when the wait was interrupted or failed: the task is there, and who made it must learn its id.
        if as_json:
            output.write_json(task)
    if wait:
        if not as_json:
            output.write_fields({"status": task["status"]})
        _require_success(task)


def _wait(client: SupervisorClient, request: TaskRequest, task: dict[str, Any]) -> dict[str, Any]:
    """Wait for one task with a bar that counts its steps; returns the task as it is then."""
    waiting = TaskWait(client, request.namespace, request.name, [task["task_uuid"]])
    with output.progress_bar() as progress:
        bar = progress.add_task("Steps", total=task["total_steps"])
        waiting.until_finished(lambda: progress.update(bar, completed=waiting.latest.get("completed_steps", 0)))
    return waiting.latest


def _require_success(task: dict[str, Any]) -> None:
    """Raise WorkFailedError with the steps that failed, unless the task came to a good end."""
    if task["status"] in SUCCEEDED:
        return
    lines = [f"task {task['task_uuid']} ended as {task['status']}"]
    for step in task["steps"]:
        if step["status"] == "error":
            error = step.get("error") or {}
            lines.append(f"  step {step['name']}: {error.get('message') or 'failed'}")
    raise WorkFailedError("\n".join(lines))
