"""Deletes what is older than somebody wants to keep, in small transactions. Durable events are never deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from psycopg import Connection
from psycopg.rows import TupleRow

from tasker_actors.postgres.dead_letters import DEAD_LETTERS_SUFFIX
from tasker_actors.postgres.events import find_queues, queue_table
from tasker_actors.postgres.session import named_statements, statement_for

BATCH = 1_000
_PAGES_AT_ONCE = 500


class Prunable(StrEnum):
    """What can be deleted by age."""

    FINISHED_TASKS = "finished_tasks"
    """Tasks that are complete, failed or cancelled, with their steps and attempts, by when they finished."""
    ATTEMPTS = "attempts"
    """Rows of single attempts, by when they ended. Steps keep their count of attempts and their last error."""
    DEAD_LETTERS = "dead_letters"
    """Dead letters of every namespace, by when they failed: their events are then lost."""
    TASK_DEAD_LETTERS = "task_dead_letters"
    """Entries of dead tasks that are closed, by when they were, and those whose task is gone."""
    STEP_AUDITS = "step_audits"
    """The record of who did what to a step, by when."""


def prune(
    connection: Connection[TupleRow],
    what: Prunable,
    older_than: timedelta,
    *,
    progress: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
    batch: int = BATCH,
) -> int:
    """Delete what is older than this by the server's clock, and return how many tasks or rows went.

    Each batch is a transaction of its own, so a crash or an error keeps what was done. After each, `progress` is told
    the number so far, and the work ends early if `stop` says so. Safe beside running workers and other prunes. Needs a
    connection in autocommit mode; raises ValueError for a negative age, and psycopg's errors.
    """
    if older_than < timedelta(0):
        msg = f"older_than must not be negative, not {older_than}"
        raise ValueError(msg)
    row = connection.execute(named_statements()["prune_cutoff"], [older_than]).fetchone()
    assert row is not None  # noqa: S101  a SELECT without FROM has a row
    deleted = 0
    for count in _batches(connection, what, row[0], batch):
        deleted += count
        if progress is not None:
            progress(deleted)
        if stop is not None and stop():
            break
    return deleted


def _batches(connection: Connection[TupleRow], what: Prunable, cutoff: datetime, batch: int) -> Iterator[int]:
    match what:
        case Prunable.FINISHED_TASKS:
            return _finished_tasks(connection, cutoff, batch)
        case Prunable.ATTEMPTS:
            return _attempts(connection, cutoff)
        case Prunable.DEAD_LETTERS:
            return _dead_letters(connection, cutoff, batch)
        case Prunable.TASK_DEAD_LETTERS:
            return _rows(connection, "entries_to_forget", cutoff, batch)
        case Prunable.STEP_AUDITS:
            return _rows(connection, "audits_to_forget", cutoff, batch)
        case _:
            assert_never(what)


def _finished_tasks(connection: Connection[TupleRow], cutoff: datetime, batch: int) -> Iterator[int]:
    statements = named_statements()
    while True:
        with connection.transaction():
            connection.execute(statements["begin_prune"])
            rows = connection.execute(statements["lock_finished_tasks"], {"cutoff": cutoff, "batch": batch}).fetchall()
            task_uuids = [row[0] for row in rows]
            for name in ("delete_attempts_of", "delete_waits_of", "delete_steps_of", "delete_tasks"):
                connection.execute(statements[name], [task_uuids])
        if not task_uuids:
            return
        yield len(task_uuids)


def _attempts(connection: Connection[TupleRow], cutoff: datetime) -> Iterator[int]:
    row = connection.execute(named_statements()["attempt_pages"]).fetchone()
    pages = row[0] if row is not None else 0
    for first in range(0, pages, _PAGES_AT_ONCE):
        ends = {"first": f"({first},0)", "end": f"({first + _PAGES_AT_ONCE},0)", "cutoff": cutoff}
        yield connection.execute(named_statements()["delete_old_attempts"], ends).rowcount


def _rows(connection: Connection[TupleRow], statement: str, cutoff: datetime, batch: int) -> Iterator[int]:
    parameters = {"cutoff": cutoff, "batch": batch}
    while count := connection.execute(named_statements()[statement], parameters).rowcount:
        yield count


def _dead_letters(connection: Connection[TupleRow], cutoff: datetime, batch: int) -> Iterator[int]:
    for queue in find_queues(connection, DEAD_LETTERS_SUFFIX, None):
        letters = queue_table(queue)
        after = 0
        while True:
            parameters = {"cutoff": cutoff, "after": after, "batch": batch}
            rows = connection.execute(statement_for("old_dead_letters", letters=letters), parameters).fetchall()
            msg_ids = [msg_id for msg_id, is_old in rows if is_old]
            if not msg_ids:
                break
            after = rows[-1][0]
            cursor = connection.execute(statement_for("prune_dead_letters", letters=letters), {"msg_ids": msg_ids})
            yield cursor.rowcount
