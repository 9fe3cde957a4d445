"""Lists of tasks, the newest first: page after page by where the last one ended, or by the number of a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import TupleRow

from tasker_actors.postgres.session import Pool, named_statements, session, statement_for
from tasker_actors.postgres.tasks import MAX_PAGE_BYTES, TaskRecord, final_state, read_records
from tasker_actors.workflow.states import TERMINAL_TASK_STATES, StepState, TaskState
from tasker_actors.workflow.summary import StepCounts, summarize_counts

MAX_COUNTED = 10_000
"""Tasks that a page by number counts; where there are more it says so."""

_LISTING_CHUNK = 500
_MAX_LISTING_CHUNKS = 40
# Ids are made by the clock of whoever creates the task, created_at by the server's.
_CLOCK_TOLERANCE = timedelta(days=1)
# A task shows these states only with a step in one of those: what has none is not worth its counts.
_NEEDED_STEP_STATES = {
    TaskState.IN_PROGRESS: [state for state in StepState if state not in (StepState.PENDING, StepState.ENQUEUED)],
    TaskState.WAITING_FOR_RETRY: [StepState.WAITING_FOR_RETRY],
}


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list has; None means any. `below` is the id after which the list goes on (the last page's last)."""

    below: str | None = None
    namespace: str | None = None
    name: str | None = None
    version: str | None = None
    status: TaskState | None = None
    initiator: str | None = None
    source_system: str | None = None
    correlation_id: str | None = None
    tag: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, the newest first; `next_below` is where the next page begins, None after the last."""

    tasks: tuple[TaskRecord, ...]
    next_below: str | None


@dataclass(frozen=True, slots=True)
class NumberedPage(TaskPage):
    """The same of a page by its number. `total` are the tasks of all pages: at least that many unless it is exact."""

    total: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which tasks a page by number has, by their ids."""

    task_uuids: tuple[str, ...]
    has_more: bool
    total: int
    is_exact: bool


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
        for task_uuid, context_bytes, matches in _candidates(connection, wanted, limit + 1):
            if matches and chosen and (len(chosen) == limit or size + context_bytes > MAX_PAGE_BYTES):
                return TaskPage(tuple(read_records(connection, chosen)), below)
            below = task_uuid
            looked_at += 1
            if matches:
                chosen.append(task_uuid)
                size += context_bytes
        gave_up = looked_at == _LISTING_CHUNK * _MAX_LISTING_CHUNKS
        return TaskPage(tuple(read_records(connection, chosen)), below if gave_up else None)


def numbered_page(pool: Pool, wanted: TaskFilter, page: int, per_page: int) -> NumberedPage:
    """Return the page of this number, counted from 1, as one snapshot, with the number of tasks on all pages.

    Contexts beyond `MAX_PAGE_BYTES` together are left out of it (None). A filter by a state that follows from the steps
    looks at 20,000 tasks at most. Raises QueryTimeoutError after 10 s.
    """
    offset = (page - 1) * per_page
    with session(pool) as connection, connection.transaction():
        connection.execute(named_statements()["begin_listing"], prepare=False)
        choose = _chosen_by_steps if _follows_from_steps(wanted) else _chosen_by_columns
        found = choose(connection, wanted, offset, per_page)
        records = tuple(read_records(connection, found.task_uuids, MAX_PAGE_BYTES))
    next_below = found.task_uuids[-1] if found.task_uuids and found.has_more else None
    return NumberedPage(records, next_below, found.total, found.is_exact)


def _chosen_by_columns(connection: Connection[TupleRow], wanted: TaskFilter, offset: int, count: int) -> _Choice:
    """Choose by what the tasks' own rows say: only the page itself is read, and as much of an index as is counted."""
    templates = _templates(connection, wanted)
    rows = _chunk(connection, _parameters(wanted, templates, wanted.below, count + 1, offset))
    chosen = tuple(row[0] for row in rows[:count])
    seen = offset + len(rows)
    if rows and len(rows) <= count:
        return _Choice(chosen, has_more=False, total=seen, is_exact=True)
    parameters = _parameters(wanted, templates, wanted.below, MAX_COUNTED + 1)
    row = connection.execute(_filtered("count_tasks"), parameters, prepare=False).fetchone()
    assert row is not None  # noqa: S101  an aggregate has a row
    exact = row[0] <= MAX_COUNTED
    total = row[0] if exact or not rows else max(row[0], seen)
    return _Choice(chosen, has_more=len(rows) > count, total=total, is_exact=exact)


def _chosen_by_steps(connection: Connection[TupleRow], wanted: TaskFilter, offset: int, count: int) -> _Choice:
    """Choose by what the tasks' steps say, which only looking at them tells."""
    looked_at = 0
    matching: list[str] = []
    for task_uuid, _, matches in _candidates(connection, wanted, _LISTING_CHUNK):
        looked_at += 1
        if matches:
            matching.append(task_uuid)
    is_exact = looked_at < _LISTING_CHUNK * _MAX_LISTING_CHUNKS
    chosen = tuple(matching[offset : offset + count])
    return _Choice(chosen, has_more=len(matching) > offset + count, total=len(matching), is_exact=is_exact)


def _follows_from_steps(wanted: TaskFilter) -> bool:
    return wanted.status is not None and wanted.status not in TERMINAL_TASK_STATES


def _candidates(
    connection: Connection[TupleRow], wanted: TaskFilter, rows_needed: int
) -> Iterator[tuple[str, int, bool]]:
    """Yield id, size of the context, and whether the state matches: as many as needed, or all that may be looked at."""
    derived = _follows_from_steps(wanted)
    chunk = _LISTING_CHUNK if derived else rows_needed
    below = wanted.below
    templates = _templates(connection, wanted)
    for _ in range(_MAX_LISTING_CHUNKS if derived else 1):
        rows = _chunk(connection, _parameters(wanted, templates, below, chunk))
        for task_uuid, context_bytes, stored, *counts in rows:
            summary = summarize_counts(StepCounts(*counts), task_state=final_state(stored))
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


def _filtered(name: str) -> sql.Composed:
    """Return a statement about the tasks that the filter lets through."""
    return statement_for(name, task_filter=sql.SQL(named_statements()["task_filter"].decode()))


def _chunk(connection: Connection[TupleRow], parameters: dict[str, Any]) -> list[TupleRow]:
    return connection.execute(_filtered("list_tasks"), parameters, prepare=False).fetchall()


def _parameters(
    wanted: TaskFilter, templates: list[int] | None, below: str | None, limit: int, offset: int = 0
) -> dict[str, Any]:
    bounds = [text for text in (below, _id_bound(wanted.created_before, _CLOCK_TOLERANCE)) if text is not None]
    return {
        "below": min(bounds, default=None),
        "above": _id_bound(wanted.created_after, -_CLOCK_TOLERANCE),
        "templates": templates,
        "stored": None if wanted.status is None else _stored_states(wanted.status),
        "has_states": None if wanted.status is None else _NEEDED_STEP_STATES.get(wanted.status),
        "initiator": wanted.initiator,
        "source_system": wanted.source_system,
        "correlation_id": wanted.correlation_id,
        "tag": wanted.tag,
        "created_after": wanted.created_after,
        "created_before": wanted.created_before,
        "limit": limit,
        "offset": offset,
    }


def _stored_states(status: TaskState) -> list[str]:
    """The states in the table behind a state that clients see: until a task is finished, its steps tell its state."""
    return [status] if status in TERMINAL_TASK_STATES else [TaskState.PENDING, TaskState.IN_PROGRESS]


def _id_bound(moment: datetime | None, tolerance: timedelta) -> str | None:
    """The smallest UUIDv7 of a moment (RFC 9562: 48 bits of milliseconds first); None where there is no such bound."""
    if moment is None:
        return None
    try:
        milliseconds = int((moment.astimezone(UTC) + tolerance).timestamp() * 1000)
    except OverflowError:
        return None
    return str(UUID(int=max(0, milliseconds) << 80))
