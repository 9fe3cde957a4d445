"""Dead letters of tasks: entries for people who look into what failed or stands still. Pools are in autocommit mode.

Every function blocks for as long as the database takes, and raises what `session` raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from tasker_actors.postgres.session import Pool, named_statements, session
from tasker_actors.postgres.tasks import Lease
from tasker_actors.settings.dlq import DlqSettings
from tasker_actors.workflow.dead_tasks import DlqReason, StalenessLimits


@dataclass(frozen=True, slots=True)
class StaleTask:
    """A task past its time: where it is and for how long, and what its template wants to be done.

    `too_old` says that the whole duration is past, and not the time in this state. `seen` is when it last changed.
    """

    task_uuid: str
    current_state: str
    minutes: int
    threshold: int
    age_minutes: int
    too_old: bool
    fails: bool
    enters: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a task that was sent to the dead: the id of a new entry, failed steps, leases that ended.

    The rest says whose task it is, as in `NewTaskRow`.
    """

    dlq_entry_uuid: str | None
    failed_steps: int
    leases: tuple[Lease, ...]
    task_uuid: str
    namespace: str
    name: str
    correlation_id: str
    traceparent: str
    tracestate: str | None


@dataclass(frozen=True, slots=True)
class Investigation:
    """What somebody writes into an entry; None stays as it is. `metadata` is JSON text."""

    status: str | None
    notes: str | None
    by: str | None
    metadata: bytes | None


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries a list has; None means any."""

    status: str | None = None
    task_uuid: str | None = None
    dlq_entry_uuid: str | None = None


def staleness_limits(settings: DlqSettings) -> StalenessLimits:
    """Return the limits for templates that say nothing."""
    return StalenessLimits(
        waiting_for_dependencies=settings.max_waiting_for_dependencies_minutes,
        waiting_for_retry=settings.max_waiting_for_retry_minutes,
        steps_in_process=settings.max_steps_in_process_minutes,
        duration=settings.max_duration_minutes,
        scanned_steps=settings.max_scanned_steps,
    )


def enter_failed_tasks(connection: Connection[Any], *, limit: int) -> int:
    """Make entries for tasks that have failed and have none; returns how many tasks were looked at."""
    row = connection.execute(named_statements()["enter_failed_tasks"], {"limit": limit}).fetchone()
    return 0 if row is None else int(row[0])


def close_entries(connection: Connection[Any]) -> int:
    """Close entries of tasks that completed or were cancelled after all; returns how many."""
    row = connection.execute(named_statements()["close_entries"]).fetchone()
    return 0 if row is None else int(row[0])


def stale_tasks(connection: Connection[Any], limits: StalenessLimits, *, limit: int) -> list[StaleTask]:
    """List tasks that are past their time and have no entry that is pending, the worst first."""
    parameters = {"minutes": _minutes(limits), "scan": limits.scanned_steps, "limit": limit}
    rows = connection.execute(named_statements()["stale_tasks"], parameters).fetchall()
    return [StaleTask(*row) for row in rows]


def enter_stale_task(connection: Connection[Any], task: StaleTask) -> Entry | None:
    """Do what the template of a stale task wants, unless it has gone on meanwhile; None if it is gone."""
    waits = task.current_state == "waiting_for_dependencies" and not task.too_old
    request = {
        "task": task.task_uuid,
        "reason": DlqReason.WORKER_UNAVAILABLE if waits else DlqReason.STALENESS_TIMEOUT,
        "state": task.current_state,
        "fails": task.fails,
        "enters": task.enters,
        "seen": task.seen,
        "more": {
            "current_state": task.current_state,
            "time_in_state_minutes": task.age_minutes if task.too_old else task.minutes,
            "threshold_minutes": task.threshold,
        },
    }
    return _enter(connection, task.task_uuid, request)


def enter_task(pool: Pool, task_uuid: str, *, reason: DlqReason, metadata: Mapping[str, Any]) -> Entry | None:
    """Make an entry for a task because somebody wants it; None for an unknown task."""
    request = {"task": task_uuid, "reason": reason, "fails": False, "enters": True, "metadata": metadata}
    with session(pool) as connection:
        return _enter(connection, task_uuid, request)


def read_entries(pool: Pool, wanted: EntryFilter, *, limit: int, offset: int = 0) -> list[dict[str, Any]]:
    """Return entries, the newest first, by column name; `task_snapshot` and `metadata` are JSON text."""
    parameters = {
        "status": wanted.status,
        "task": wanted.task_uuid,
        "entry": wanted.dlq_entry_uuid,
        "limit": limit,
        "offset": offset,
    }
    with session(pool) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        return cursor.execute(named_statements()["read_entries"], parameters, prepare=False).fetchall()


def update_entry(pool: Pool, dlq_entry_uuid: str, update: Investigation) -> str | None:
    """Write into an entry; returns None if that was done, "unknown", or the state in which it was closed already."""
    parameters = {
        "entry": dlq_entry_uuid,
        "status": update.status,
        "notes": update.notes,
        "by": update.by,
        "metadata": None if update.metadata is None else update.metadata.decode(),
    }
    with session(pool) as connection:
        if connection.execute(named_statements()["update_entry"], parameters).rowcount:
            return None
        row = connection.execute(named_statements()["entry_status"], [dlq_entry_uuid]).fetchone()
    return "unknown" if row is None else str(row[0])


def entry_figures(pool: Pool) -> list[dict[str, Any]]:
    """Count entries by reason and state."""
    return _rows(pool, "entry_figures", {})


def investigation_queue(pool: Pool, *, limit: int) -> list[dict[str, Any]]:
    """List pending entries, the most pressing first."""
    return _rows(pool, "investigation_queue", {"limit": limit})


def staleness(pool: Pool, limits: StalenessLimits, *, limit: int) -> list[dict[str, Any]]:
    """List open tasks by how much of their time they have stood still, the worst first."""
    return _rows(pool, "staleness", {"minutes": _minutes(limits), "scan": limits.scanned_steps, "limit": limit})


def _enter(connection: Connection[Any], task_uuid: str, request: Mapping[str, Any]) -> Entry | None:
    parameters = {"task": task_uuid, "request": orjson.dumps(request).decode()}
    row: TupleRow | None = connection.execute(named_statements()["enter_task"], parameters).fetchone()
    if row is None:
        return None
    reply = row[0]
    leases = tuple(Lease(lease["token"], lease["worker_id"]) for lease in reply["leases"])
    return Entry(reply["entry"], reply["failed"], leases, *row[1:])


def _rows(pool: Pool, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    with session(pool) as connection:
        return connection.cursor(row_factory=dict_row).execute(named_statements()[statement], parameters).fetchall()


def _minutes(limits: StalenessLimits) -> str:
    return orjson.dumps(limits).decode()
