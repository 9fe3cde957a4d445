"""Tasks as clients see them: created, cancelled and looked up. The pool's connections are in autocommit mode.

Every function blocks for as long as the database takes, and raises what `session` raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import orjson
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from tasker_actors.events.json_size import stored_bytes
from tasker_actors.postgres.session import Pool, named_statements, session
from tasker_actors.workflow.states import TERMINAL_TASK_STATES, TaskState
from tasker_actors.workflow.summary import StepCounts, TaskSummary, summarize_counts
from tasker_actors.workflow.task_planning import NewTaskRow

MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Contexts on one page of a list, or results in one list of steps, together; the first always fits."""

_IDENTITY_INDEX = "tasks_idempotency_key"
# As it was given: without the number of the period, which the server adds.
_IDENTITY = re.compile(r"[0-9a-f]{64}(?:/\d+(?=/))?")
_COUNTS = tuple(field.name for field in fields(StepCounts))


class IdentityTakenError(Exception):
    """A task with the identity of one of the rows is there already; nothing was created.

    `index` is the place of that row, None where the server did not tell.
    """

    def __init__(self, index: int | None) -> None:
        self.index = index
        super().__init__("the identity is taken")


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's claim on a step that ended with the step's task."""

    token: int
    worker_id: int


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What a cancel found and did: the stored state before, whether it was changed, and the leases that ended.

    The rest says whose task it is, as in `NewTaskRow`.
    """

    status: str
    cancelled: bool
    leases: tuple[Lease, ...]
    task_uuid: str
    namespace: str
    name: str
    correlation_id: str
    traceparent: str
    tracestate: str | None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as it is stored, by column name, with what its steps say about it.

    `columns` has `context` and `steps` as JSON text, and times as datetimes.
    """

    columns: dict[str, Any]
    summary: TaskSummary


def create_tasks(pool: Pool, rows: Sequence[NewTaskRow]) -> datetime:
    """Create tasks with their steps, all or none, and return their moment of creation by the server's clock.

    One statement. Raises IdentityTakenError. After an OutcomeUnknownError all of them exist or none does.
    """
    with session(pool) as connection:
        try:
            row = connection.execute(named_statements()["create_tasks"], [task_document(rows)]).fetchone()
        except psycopg.errors.UniqueViolation as error:
            taken = identity_taken(error, rows)
            if taken is None:
                raise
            raise taken from error
    assert row is not None  # noqa: S101  a SELECT without FROM has a row
    created_at: datetime = row[1]
    return created_at


def task_document(rows: Sequence[NewTaskRow]) -> str:
    """Return the JSON that `create_tasks` takes."""
    return orjson.dumps([_document(row) for row in rows]).decode()


def identity_taken(error: psycopg.errors.UniqueViolation, rows: Sequence[NewTaskRow]) -> IdentityTakenError | None:
    """Return what a unique violation of `create_tasks` means; None where it is about no identity.

    Which of the rows it is stands in the server's message, so nothing has to be asked in a transaction that failed.
    """
    if error.diag.constraint_name != _IDENTITY_INDEX:
        return None
    found = _IDENTITY.search(error.diag.message_detail or "")
    taken = None if found is None else found[0]
    return IdentityTakenError(next((index for index, row in enumerate(rows) if row.identity_hash == taken), None))


def cancel_task(pool: Pool, task_uuid: str, *, by: str | None = None, reason: str | None = None) -> Cancellation | None:
    """Cancel a task and every step of it that is not finished, and keep who did it; None if there is no such task.

    A finished task stays as it is. The leases that ended are returned so that their workers can be told.
    """
    with session(pool) as connection:
        parameters = {"task_uuid": task_uuid, "by": by, "reason": reason}
        row = connection.execute(named_statements()["cancel_task"], parameters).fetchone()
    if row is None:
        return None
    reply = orjson.loads(row[0])
    leases = tuple(Lease(lease["token"], lease["worker_id"]) for lease in reply["leases"])
    return Cancellation(reply["status"], reply["cancelled"], leases, *row[1:])


def find_task(pool: Pool, task_uuid: str) -> TaskRecord | None:
    """Return one task as it is now, or None."""
    with session(pool) as connection:
        return next(read_records(connection, [task_uuid]), None)


def read_records(
    connection: Connection[TupleRow], task_uuids: Sequence[str], budget: int | None = None
) -> Iterator[TaskRecord]:
    """Read tasks, the newest first; the context is None of those that do not fit into the budget in bytes."""
    cursor = connection.cursor(row_factory=dict_row)
    parameters = {"tasks": list(task_uuids), "budget": budget}
    for columns in cursor.execute(named_statements()["read_tasks"], parameters).fetchall():
        counts = StepCounts(**{name: columns.pop(name) for name in _COUNTS})
        yield TaskRecord(columns, summarize_counts(counts, task_state=final_state(columns["status"])))


def final_state(stored: str) -> TaskState | None:
    """Return the state of a finished task; None as long as a task's steps tell its state."""
    state = TaskState(stored)
    return state if state in TERMINAL_TASK_STATES else None


def read_steps(pool: Pool, task_uuid: str, step_uuid: str | None = None) -> list[dict[str, Any]] | None:
    """Return a task's steps by column name, `result` and `error` as JSON text; None if there is no such task.

    With `step_uuid` that one alone, with its result whatever its size; an empty list if the task has no such step.
    """
    parameters = {"task": task_uuid, "step": step_uuid, "budget": MAX_PAGE_BYTES if step_uuid is None else None}
    with session(pool) as connection:
        rows = connection.cursor(row_factory=dict_row).execute(named_statements()["read_steps"], parameters).fetchall()
        if not rows and connection.execute(named_statements()["task_exists"], [task_uuid]).fetchone() is None:
            return None
    return rows


def read_attempts(pool: Pool, task_uuid: str, step_uuid: str) -> list[dict[str, Any]]:
    """Return the attempts of a step that have a result or were lost, the last 1,000 in order; `error` is JSON text."""
    with session(pool) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        return cursor.execute(named_statements()["read_attempts"], {"task": task_uuid, "step": step_uuid}).fetchall()


_STORED = [field.name for field in fields(NewTaskRow) if field.name not in ("namespace", "name")]
"""What `create_tasks` is told of a task; it takes the namespace and the name from the template."""


def _document(row: NewTaskRow) -> dict[str, Any]:
    document = {name: getattr(row, name) for name in _STORED}
    document["context"] = orjson.Fragment(row.context)
    document["context_bytes"] = stored_bytes(row.context)
    return document
