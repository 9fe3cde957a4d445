"""Fires what is due: the tasks of a firing and the schedule's next one are one commit.

A schedule that is due is locked, so one supervisor fires it, whichever comes first; one that is killed meanwhile has
done nothing. Besides, the task of each firing has an idempotency key, so that a clock that is put back fires nothing
a second time.

What a schedule itself is refused for costs it this firing. What may be the fault of the process that looks (a time
zone that it lacks, a right, a stored text of another release) costs nothing: the schedule stays due, for others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from tasker_actors.errors import RequestRefusedError, TaskerError
from tasker_actors.events.timestamp import timestamp
from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.outages import Trouble, reason_of, trouble
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

    `dropped` are firings that nobody makes up for, as in `DueFirings`. `left`: it cannot be fired here and stays
    due, for others and for another look.
    """

    schedule: Schedule
    tasks: tuple[NewTaskRow, ...] = ()
    error: str | None = None
    dropped: tuple[datetime, datetime | None] | None = None
    left: bool = False


def fire_next(
    pool: Pool,
    making: ScheduledTasks,
    limits: CatchUpLimits,
    passed_over: Mapping[str, datetime] | None = None,
    trying: Callable[[Schedule], None] | None = None,
) -> Fired | None:
    """Fire the schedule that has been due longest and that nobody else fires now; None if there is none.

    All or nothing, in one transaction; call it until it returns None, and pass over what it left: `passed_over` has by
    name when such a schedule was last changed. A schedule of which no task can be made keeps the reason. Raises what
    `session` raises, and then nothing was done, or after an OutcomeUnknownError perhaps everything; `trying` is told
    which schedule it was about.
    """
    schedule: Schedule | None = None
    try:
        with session(pool) as connection, connection.transaction():
            with connection.cursor(row_factory=dict_row) as cursor:
                row = cursor.execute(named_statements()["lock_due_schedule"], _passing(passed_over)).fetchone()
            if row is None:
                return None
            schedule, now = schedule_from(row)
            if trying is not None:
                trying(schedule)
            try:
                fired, due = _fire(connection, schedule, now, making, limits)
            except Exception as error:  # what nobody thought of in one schedule must not stop the others
                if isinstance(error, psycopg.Error) and not isinstance(error, psycopg.errors.InsufficientPrivilege):
                    raise
                fired = Fired(schedule, error=_reason(error), left=True)
                _leave(connection, fired, now)
            else:
                _move(connection, fired, due, now)
            return fired
    except psycopg.Error as error:
        if schedule is None:
            raise
        # A trigger on schedules that refuses this one: it cannot even be said there why.
        return Fired(schedule, error=reason_of(error), left=True)


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


def next_firing_s(pool: Pool, passed_over: Mapping[str, datetime] | None = None) -> float | None:
    """Return how many seconds it is until a schedule is due, below zero if one is; None if none ever is.

    Those that are passed over, as by `fire_next`, do not count.
    """
    with session(pool) as connection:
        row = connection.execute(named_statements()["next_firing"], _passing(passed_over)).fetchone()
    assert row is not None  # noqa: S101  an aggregate has a row
    seconds: float | None = row[0]
    return seconds


def _passing(passed_over: Mapping[str, datetime] | None) -> Mapping[str, Any]:
    found = passed_over or {}
    return {"names": list(found), "changed": list(found.values())}


def _fire(
    connection: Connection[TupleRow],
    schedule: Schedule,
    now: datetime,
    making: ScheduledTasks,
    limits: CatchUpLimits,
) -> tuple[Fired, DueFirings]:
    assert schedule.next_fire_at is not None  # noqa: S101  it is due
    at_once = min(limits.at_once, max(1, _MAX_BYTES // (len(schedule.context) + _ROW_BYTES)))
    cron = parse_cron(schedule.cron, schedule.timezone)
    due = due_firings(
        cron,
        schedule.next_fire_at.astimezone(UTC),
        now.astimezone(UTC),
        schedule.catch_up,
        CatchUpLimits(limits.grace, limits.most, at_once),
    )
    try:
        tasks, due = _create(connection, schedule, due, making)
    except RequestRefusedError as error:
        refusal = str(error)
    except psycopg.Error as error:
        if not _is_refusal(error):
            raise
        refusal = f"the database refused its task: {reason_of(error)}"
    else:
        return Fired(schedule, tasks, dropped=due.dropped), due
    # All that is due now would be refused for the same reason.
    return Fired(schedule, error=refusal), DueFirings((), cron.after(now))


def _is_refusal(error: psycopg.Error) -> bool:
    """Whether the database refuses the task for what it is: not for a moment, and not for who asks.

    What the driver itself cannot send has no SQLSTATE.
    """
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return False
    return isinstance(error, psycopg.DataError) or trouble(error) is Trouble.CONTENT


def _reason(error: Exception) -> str:
    match error:
        case CronError():
            return f"{error.key}: {error}"
        case TaskerError():
            return str(error)
        case psycopg.Error():
            return f"the database refused its task: {reason_of(error)}"
        case _:
            return f"{type(error).__name__}: {error}"


def _create(
    connection: Connection[TupleRow], schedule: Schedule, due: DueFirings, making: ScheduledTasks
) -> tuple[tuple[NewTaskRow, ...], DueFirings]:
    """Create the tasks of as many firings as one transaction may have; returns them with what then is due next."""
    if not due.times:
        return (), due
    rows = making.rows(connection, schedule, [(moment, firing_key(schedule.name, moment)) for moment in due.times])
    due = due.first(len(rows))
    if _try_to_create(connection, rows):
        return tuple(rows), due
    # Some have their task already, as after a clock that was put back: the others get theirs.
    return tuple(row for row in rows if _try_to_create(connection, [row])), due


def _try_to_create(connection: Connection[TupleRow], rows: Sequence[NewTaskRow]) -> bool:
    """Create tasks, all or none; returns False if one of them is there."""
    try:
        with connection.transaction():
            connection.execute(named_statements()["create_tasks"], [task_document(rows)])
            connection.execute(named_statements()["check_now"])
    except psycopg.errors.UniqueViolation as error:
        if not isinstance(identity_taken(error, rows), IdentityTakenError):
            raise
        return False
    return True


def _leave(connection: Connection[TupleRow], fired: Fired, now: datetime) -> None:
    parameters = {"name": fired.schedule.name, "last_error": orjson.dumps(_error(fired, now)).decode()}
    connection.execute(named_statements()["leave_schedule"], parameters)


def _move(connection: Connection[TupleRow], fired: Fired, due: DueFirings, now: datetime) -> None:
    connection.execute(
        named_statements()["move_schedule"],
        {
            "name": fired.schedule.name,
            "next_fire_at": due.next_at,
            "last_fired_at": due.times[-1] if due.times else None,
            "last_task_uuid": fired.tasks[-1].task_uuid if fired.tasks else None,
            "tried": bool(due.times) or fired.error is not None,
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
