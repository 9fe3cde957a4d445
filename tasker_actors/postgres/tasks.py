"""Tasks as clients see them: created, cancelled, looked up and listed. The pool's connections are in autocommit mode.

Every function blocks for as long as the database takes, and raises what `session` raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from tasker_actors.events.json_size import stored_bytes
from tasker_actors.postgres.session import Pool, named_statements, session
from tasker_actors.workflow.states import TERMINAL_TASK_STATES, StepState, TaskState
from tasker_actors.workflow.summary import StepCounts, TaskSummary, summarize_counts
from tasker_actors.workflow.task_planning import NewTaskRow

MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Contexts on one page of a list, or results in one list of steps, together; the first always fits."""

_IDENTITY_INDEX = "tasks_idempotency_key"
# As it was given: without the number of the period, which the server adds.
_IDENTITY = re.compile(r"[0-9a-f]{64}(?:/\d+(?=/))?")
_LISTING_CHUNK = 500
_MAX_LISTING_CHUNKS = 40
# Ids are made by the clock of whoever creates the task, created_at by the server's.
_CLOCK_TOLERANCE = timedelta(days=1)
# A task shows these states only with a step in one of those: what has none is not worth its counts.
_NEEDED_STEP_STATES = {
    TaskState.IN_PROGRESS: [state for state in StepState if state not in (StepState.PENDING, StepState.ENQUEUED)],
    TaskState.WAITING_FOR_RETRY: [StepState.WAITING_FOR_RETRY],
}
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


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list has; None means any. `below` is the id after which the list goes on (the last page's last)."""

    below: str | None = None
    namespace: str | None = None
    name: str | None = None
    version: str | None = None
    status: TaskState | None = None
    correlation_id: str | None = None
    tag: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, the newest first; `next_below` is where the next page begins, None after the last."""

    tasks: tuple[TaskRecord, ...]
    next_below: str | None


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


def cancel_task(pool: Pool, task_uuid: str) -> Cancellation | None:
    """Cancel a task and every step of it that is not finished; None if there is no such task.

    A finished task stays as it is. The leases that ended are returned so that their workers can be told.
    """
    with session(pool) as connection:
        row = connection.execute(named_statements()["cancel_task"], {"task_uuid": task_uuid}).fetchone()
    if row is None:
        return None
    reply = orjson.loads(row[0])
    leases = tuple(Lease(lease["token"], lease["worker_id"]) for lease in reply["leases"])
    return Cancellation(reply["status"], reply["cancelled"], leases, *row[1:])


def find_task(pool: Pool, task_uuid: str) -> TaskRecord | None:
    """Return one task as it is now, or None."""
    with session(pool) as connection:
        return next(iter(_read(connection, [task_uuid])), None)


def list_tasks(pool: Pool, wanted: TaskFilter, limit: int) -> TaskPage:
    """Return a page of tasks, the newest first, as one snapshot.

    It can be shorter than `limit`, even empty, with more to come: contexts are bounded by `MAX_PAGE_BYTES` together,
    and a filter by a state that follows from the steps looks at 20,000 tasks at most. Raises QueryTimeoutError after
    10 s.
    """
    with session(pool) as connection, connection.transaction():
        connection.execute(named_statements()["begin_listing"], prepare=False)
        chosen: list[str] = []
        size = looked_at = 0
        below = None
        for task_uuid, context_bytes, matches in _candidates(connection, wanted, limit):
            if matches and chosen and (len(chosen) == limit or size + context_bytes > MAX_PAGE_BYTES):
                return TaskPage(tuple(_read(connection, chosen)), below)
            below = task_uuid
            looked_at += 1
            if matches:
                chosen.append(task_uuid)
                size += context_bytes
        gave_up = looked_at == _LISTING_CHUNK * _MAX_LISTING_CHUNKS
        return TaskPage(tuple(_read(connection, chosen)), below if gave_up else None)


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


def _document(row: NewTaskRow) -> dict[str, Any]:
    document = {field.name: getattr(row, field.name) for field in fields(row)}
    del document["namespace"], document["name"]  # the function takes them from the template
    return {**document, "context": orjson.Fragment(row.context), "context_bytes": stored_bytes(row.context)}


def _read(connection: Connection[TupleRow], task_uuids: Sequence[str]) -> Iterator[TaskRecord]:
    cursor = connection.cursor(row_factory=dict_row)
    for columns in cursor.execute(named_statements()["read_tasks"], [list(task_uuids)]).fetchall():
        counts = StepCounts(**{name: columns.pop(name) for name in _COUNTS})
        yield TaskRecord(columns, summarize_counts(counts, task_state=_final_state(columns["status"])))


def _candidates(connection: Connection[TupleRow], wanted: TaskFilter, limit: int) -> Iterator[tuple[str, int, bool]]:
    """Yield id, size of the context, and whether the state matches, for one task more than fits on a page."""
    derived = wanted.status is not None and wanted.status not in TERMINAL_TASK_STATES
    chunk = _LISTING_CHUNK if derived else limit + 1
    below = wanted.below
    templates = _templates(connection, wanted)
    for _ in range(_MAX_LISTING_CHUNKS if derived else 1):
        rows = _chunk(connection, _parameters(wanted, templates, below, chunk))
        for task_uuid, context_bytes, stored, *counts in rows:
            summary = summarize_counts(StepCounts(*counts), task_state=_final_state(stored))
            yield task_uuid, context_bytes, wanted.status in (None, summary.status)
        if len(rows) < chunk:
            return
        below = rows[-1][0]


def _templates(connection: Connection[TupleRow], wanted: TaskFilter) -> list[int] | None:
    """The templates of the namespace, name and version that are wanted; None if any will do."""
    parameters = {"namespace": wanted.namespace, "name": wanted.name, "version": wanted.version}
    if all(value is None for value in parameters.values()):
        return None
    row = connection.execute(named_statements()["find_templates"], parameters).fetchone()
    assert row is not None  # noqa: S101  an aggregate has a row
    found: list[int] = row[0]
    return found


def _chunk(connection: Connection[TupleRow], parameters: dict[str, Any]) -> list[TupleRow]:
    return connection.execute(named_statements()["list_tasks"], parameters, prepare=False).fetchall()


def _parameters(wanted: TaskFilter, templates: list[int] | None, below: str | None, limit: int) -> dict[str, Any]:
    bounds = [text for text in (below, _id_bound(wanted.created_before, _CLOCK_TOLERANCE)) if text is not None]
    return {
        "below": min(bounds, default=None),
        "above": _id_bound(wanted.created_after, -_CLOCK_TOLERANCE),
        "templates": templates,
        "stored": None if wanted.status is None else _stored_states(wanted.status),
        "has_states": None if wanted.status is None else _NEEDED_STEP_STATES.get(wanted.status),
        "correlation_id": wanted.correlation_id,
        "tag": wanted.tag,
        "created_after": wanted.created_after,
        "created_before": wanted.created_before,
        "limit": limit,
    }


def _stored_states(status: TaskState) -> list[str]:
    """The states in the table behind a state that clients see: until a task is finished, its steps tell its state."""
    return [status] if status in TERMINAL_TASK_STATES else [TaskState.PENDING, TaskState.IN_PROGRESS]


def _final_state(stored: str) -> TaskState | None:
    state = TaskState(stored)
    return state if state in TERMINAL_TASK_STATES else None


def _id_bound(moment: datetime | None, tolerance: timedelta) -> str | None:
    """The smallest UUIDv7 of a moment (RFC 9562: 48 bits of milliseconds first); None where there is no such bound."""
    if moment is None:
        return None
    try:
        milliseconds = int((moment.astimezone(UTC) + tolerance).timestamp() * 1000)
    except OverflowError:
        return None
    return str(UUID(int=max(0, milliseconds) << 80))
