"""How long tasks and steps take, from the newest tasks. The pool's connections are in autocommit mode.

Everything is about the newest tasks only, so that it costs the same however many there are. Each function is one
snapshot, blocks for as long as the database takes, and raises what `session` raises, QueryTimeoutError after 10 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from tasker_actors.postgres.session import Pool, named_statements, session

MAX_ANALYSED = 20_000
"""Tasks that are looked at, the newest."""


@dataclass(frozen=True, slots=True)
class Performance:
    """What became of the tasks that were created since a moment, and of their steps; durations are in seconds."""

    since: datetime
    total_tasks: int
    active_tasks: int
    completed_tasks: int
    failed_tasks: int
    average_task_duration: float
    completed_steps: int
    average_step_duration: float


@dataclass(frozen=True, slots=True)
class Bottlenecks:
    """Steps and tasks that take longest on average, by column name, and how many are in which stored state."""

    slow_steps: list[dict[str, Any]]
    slow_tasks: list[dict[str, Any]]
    task_states: dict[str, int]
    step_states: dict[str, int]


def performance(pool: Pool, since: datetime) -> Performance:
    """Add up the tasks that were created since this moment, or since a later one where these are too many."""
    with _snapshot(pool) as connection:
        above, begins = _analysed_from(connection, _first_id(since))
        tasks = _one(connection, "task_figures", above=above)
        steps = _one(connection, "attempt_figures", above=above)
    return Performance(
        since=begins or since,
        total_tasks=tasks["total"],
        active_tasks=tasks["active"],
        completed_tasks=tasks["completed"],
        failed_tasks=tasks["failed"],
        average_task_duration=tasks["average_duration"],
        completed_steps=steps["completed"],
        average_step_duration=steps["average_duration"],
    )


def bottlenecks(pool: Pool, limit: int, min_executions: int) -> Bottlenecks:
    """Find what takes longest, of what ran at least so often in the newest tasks."""
    with _snapshot(pool) as connection:
        above, _ = _analysed_from(connection, _first_id(datetime.fromtimestamp(0, UTC)))
        wanted = {"above": above, "least": min_executions, "limit": limit}
        return Bottlenecks(
            slow_steps=_rows(connection, "slow_steps", **wanted),
            slow_tasks=_rows(connection, "slow_tasks", **wanted),
            task_states=_counts(connection, "task_states", above),
            step_states=_counts(connection, "step_states", above),
        )


@contextmanager
def _snapshot(pool: Pool) -> Iterator[Connection[TupleRow]]:
    with session(pool) as connection, connection.transaction():
        connection.execute(named_statements()["begin_listing"], prepare=False)
        yield connection


def _analysed_from(connection: Connection[TupleRow], above: str) -> tuple[str, datetime | None]:
    """Return the smallest id to look at, and when that task was created if it is not the period that ends there."""
    parameters = {"above": above, "passed": MAX_ANALYSED - 1}
    row = connection.execute(named_statements()["analysed_from"], parameters, prepare=False).fetchone()
    return (above, None) if row is None else (row[0], row[1])


def _rows(connection: Connection[TupleRow], name: str, **parameters: Any) -> list[dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(named_statements()[name], parameters, prepare=False).fetchall()


def _one(connection: Connection[TupleRow], name: str, **parameters: Any) -> dict[str, Any]:
    return _rows(connection, name, **parameters)[0]


def _counts(connection: Connection[TupleRow], name: str, above: str) -> dict[str, int]:
    return dict(connection.execute(named_statements()[name], {"above": above}, prepare=False).fetchall())


def _first_id(moment: datetime) -> str:
    """Return the smallest UUIDv7 of a moment (RFC 9562: 48 bits of milliseconds first)."""
    return str(UUID(int=max(0, int(moment.timestamp() * 1000)) << 80))
