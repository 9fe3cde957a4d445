"""Fires what is due: the tasks of a firing and the schedule's next one are one commit.

A schedule that is due is locked, so one supervisor fires it, whichever comes first; one that is killed meanwhile has
done nothing. Besides, the task of each firing has an idempotency key, so that a clock that is put back fires nothing
a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from tasker_actors.errors import RequestRefusedError, TemplateError
from tasker_actors.events.timestamp import timestamp
from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.scheduled_tasks import ScheduledTasks
from tasker_actors.postgres.schedules import Schedule, schedule_from
from tasker_actors.postgres.session import Pool, named_statements, session
from tasker_actors.postgres.tasks import IdentityTakenError, identity_taken, task_document
from tasker_actors.workflow.cron import CronError, parse_cron
from tasker_actors.workflow.schedule import CatchUpLimits, DueFirings, due_firings, firing_key, firing_time
from tasker_actors.workflow.task_planning import NewTaskRow

_MAX_BYTES = 4 * 1024 * 1024
_ROW_BYTES = 2_000
"""About what a task has in the statement that creates it, beside its context."""


@dataclass(frozen=True, slots=True)
class Fired:
    """What became of one schedule that was due: the tasks that were created, or why there are none.

    `dropped` are firings that nobody makes up for, as in `DueFirings`. `paused`: it cannot be read here, and fires no
    more until somebody resumes it.
    """

    schedule: Schedule
    tasks: tuple[NewTaskRow, ...] = ()
    error: str | None = None
    dropped: tuple[datetime, datetime | None] | None = None
    paused: bool = False


def fire_next(pool: Pool, making: ScheduledTasks, limits: CatchUpLimits) -> Fired | None:
    """Fire the schedule that has been due longest and that nobody else fires now; None if there is none.

    All or nothing, in one transaction; call it until it returns None. A schedule of which no task can be made keeps
    the reason, and is due again at its next firing. Raises what `session` raises, and then nothing was done, or after
    an OutcomeUnknownError perhaps everything.
    """
    with session(pool) as connection, connection.transaction():
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(named_statements()["lock_due_schedule"]).fetchone()
        if row is None:
            return None
        schedule, now = schedule_from(row)
        try:
            fired, due = _fire(connection, schedule, now, making, limits)
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001 - what nobody thought of in one schedule must not stop the others
            fired, due = Fired(schedule, error=f"{type(error).__name__}: {error}", paused=True), None
        _move(connection, fired, due, now)
        return fired


def fire_by_hand(pool: Pool, name: str, making: ScheduledTasks) -> NewTaskRow | None:
    """Create the task of a schedule now, whatever its clock says, which stays as it is; None if there is none.

    Raises RequestRefusedError, TemplateError, and what `session` raises.
    """
    with session(pool) as connection, connection.transaction():
        with connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(named_statements()["read_schedule"], {"name": name}).fetchone()
        if found is None:
            return None
        schedule, now = schedule_from(found)
        (row,) = making.rows(connection, schedule, [(now, f"schedule/{name}/{new_uuid7()}")])
        connection.execute(named_statements()["create_tasks"], [task_document([row])])
        return row


def next_firing_s(pool: Pool) -> float | None:
    """Return how many seconds it is until a schedule is due, below zero if one is; None if none ever is."""
    with session(pool) as connection:
        row = connection.execute(named_statements()["next_firing"]).fetchone()
    assert row is not None  # noqa: S101  an aggregate has a row
    seconds: float | None = row[0]
    return seconds


def _fire(
    connection: Connection[TupleRow],
    schedule: Schedule,
    now: datetime,
    making: ScheduledTasks,
    limits: CatchUpLimits,
) -> tuple[Fired, DueFirings | None]:
    assert schedule.next_fire_at is not None  # noqa: S101  it is due
    at_once = min(limits.at_once, max(1, _MAX_BYTES // (len(schedule.context) + _ROW_BYTES)))
    try:
        cron = parse_cron(schedule.cron, schedule.timezone)
    except CronError as error:
        # Of an earlier release, or of a machine with other time zones: when it would be due is not known.
        return Fired(schedule, error=f"{error.key}: {error}", paused=True), None
    due = due_firings(
        cron,
        schedule.next_fire_at.astimezone(UTC),
        now.astimezone(UTC),
        schedule.catch_up,
        CatchUpLimits(limits.grace, limits.most, at_once),
    )
    try:
        return Fired(schedule, _create(connection, schedule, due, making), dropped=due.dropped), due
    except (RequestRefusedError, TemplateError) as error:
        # All that is due now would be refused for the same reason.
        return Fired(schedule, error=str(error)), DueFirings((), cron.after(now))
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        return Fired(schedule, error=f"the database refused its task: {error}"), DueFirings((), cron.after(now))


def _create(
    connection: Connection[TupleRow], schedule: Schedule, due: DueFirings, making: ScheduledTasks
) -> tuple[NewTaskRow, ...]:
    if not due.times:
        return ()
    rows = making.rows(connection, schedule, [(moment, firing_key(schedule.name, moment)) for moment in due.times])
    if _try_to_create(connection, rows):
        return tuple(rows)
    # Some have their task already, as after a clock that was put back: the others get theirs.
    return tuple(row for row in rows if _try_to_create(connection, [row]))


def _try_to_create(connection: Connection[TupleRow], rows: Sequence[NewTaskRow]) -> bool:
    """Create tasks, all or none; returns False if one of them is there."""
    try:
        with connection.transaction():
            connection.execute(named_statements()["create_tasks"], [task_document(rows)])
    except psycopg.errors.UniqueViolation as error:
        if not isinstance(identity_taken(error, rows), IdentityTakenError):
            raise
        return False
    return True


def _move(connection: Connection[TupleRow], fired: Fired, due: DueFirings | None, now: datetime) -> None:
    schedule = fired.schedule
    times = due.times if due is not None else ()
    connection.execute(
        named_statements()["move_schedule"],
        {
            "name": schedule.name,
            "pause": fired.paused,
            "next_fire_at": None if due is None else due.next_at,
            "last_fired_at": times[-1] if times else None,
            "last_task_uuid": fired.tasks[-1].task_uuid if fired.tasks else None,
            "tried": bool(times) or fired.error is not None,
            "last_error": None if fired.error is None else orjson.dumps(_error(fired, now)).decode(),
        },
    )


def _error(fired: Fired, now: datetime) -> Mapping[str, Any]:
    due = fired.schedule.next_fire_at
    return {
        "message": fired.error,
        "scheduled_for": None if due is None else firing_time(due),
        "failed_at": timestamp(now),
    }
