"""Creates one task for each line of a file, in batches, and waits for all of them if asked to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.errors import WorkFailedError
from tasker_actors.cli.json_lines import Batch, batches, check_json_lines, open_json_lines
from tasker_actors.cli.task_request import TaskRequest
from tasker_actors.cli.task_wait import SUCCEEDED, TaskWait
from tasker_actors.errors import RequestRefusedError, TaskerError

Created = list[dict[str, Any]]


def create_many(client: SupervisorClient, request: TaskRequest, file: Path, *, wait: bool, as_json: bool) -> None:
    """Create the tasks and print the ids of each batch as soon as it is committed, or all as one document at the end.

    What was created is printed on every way out, also when a later batch is refused or the user interrupts.
    """
    created: Created = []
    statuses: dict[str, str] = {}
    try:
        _create(client, request, file, created, as_json=as_json)
        if wait:
            _wait(client, request, created, statuses)
    except KeyboardInterrupt:
        output.note(f"interrupted; {len(created)} tasks were created, and go on")
        raise
    finally:
        if as_json and created:
            output.write_json({"tasks": _with_statuses(created, statuses) if wait else created})
    if wait:
        _require_success(statuses)


def _create(client: SupervisorClient, request: TaskRequest, file: Path, created: Created, *, as_json: bool) -> None:
    with open_json_lines(file) as lines:
        count = check_json_lines(lines, str(file), overhead=request.overhead)
        with output.progress_bar() as progress:
            bar = progress.add_task("Creating tasks", total=count)
            for batch in batches(lines, overhead=request.overhead):
                tasks = _create_batch(client, request, batch, file, len(created))
                created.extend(tasks)
                progress.advance(bar, len(tasks))
                if not as_json:
                    output.write_line("\n".join(f"{task['task_uuid']}  {task['correlation_id']}" for task in tasks))
    output.note(f"created {count} tasks")


def _create_batch(
    client: SupervisorClient, request: TaskRequest, batch: Batch, file: Path, already: int
) -> list[dict[str, Any]]:
    body = b'{"tasks":[' + b",".join(request.body(context) for context in batch.contexts) + b"]}"
    try:
        tasks: Created = client.post("/v1/tasks/batch", body)["tasks"]
    except TaskerError as error:
        place = f"the batch of lines {batch.first_line} to {batch.last_line}"
        index = error.index if isinstance(error, RequestRefusedError) else None
        if index is not None and index < len(batch.lines):
            place += f", with the task of line {batch.lines[index]}"
        output.note(f"{file}: stopped at {place}; {already} tasks were created from the lines before it")
        raise
    return tasks


def _wait(client: SupervisorClient, request: TaskRequest, created: Created, statuses: dict[str, str]) -> None:
    waiting = TaskWait(client, request.namespace, request.name, [task["task_uuid"] for task in created])
    with output.progress_bar() as progress:
        bar = progress.add_task("Finished tasks", total=len(created))

        def show() -> None:
            statuses.update(waiting.statuses)
            progress.update(bar, completed=len(statuses))

        waiting.until_finished(show)


def _with_statuses(created: Created, statuses: dict[str, str]) -> Created:
    return [{**task, "status": statuses.get(task["task_uuid"])} for task in created]


def _require_success(statuses: dict[str, str]) -> None:
    counts = Counter(statuses.values())
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    failed = sum(count for status, count in counts.items() if status not in SUCCEEDED)
    if failed:
        msg = f"{failed} of {len(statuses)} tasks did not complete: {summary}"
        raise WorkFailedError(msg)
    output.note(f"finished: {summary}")
