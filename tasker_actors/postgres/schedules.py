"""Schedules as clients see them: put, read, listed, paused, resumed and deleted. Firing is `schedule_firing`'s.

Every function blocks for as long as the database takes, and raises what `session` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from tasker_actors.postgres.session import Pool, named_statements, session
from tasker_actors.workflow.schedule import CatchUp

SCHEDULES_CHANNEL = "tasker_schedules"
"""Where a change of a schedule is announced to whoever fires them."""


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule as its owner decides it; `context` is JSON text, no version means the newest.

    `scheduled_for_key` is a key of the context that gets the moment of each firing.
    """

    name: str
    namespace: str
    template: str
    version: str | None
    cron: str
    timezone: str
    context: bytes
    scheduled_for_key: str | None
    priority: int
    tags: tuple[str, ...]
    catch_up: CatchUp
    enabled: bool


@dataclass(frozen=True, slots=True)
class Schedule(NewSchedule):
    """A schedule as it is stored. `last_error` is of the last firing, if that failed."""

    next_fire_at: datetime | None
    last_fired_at: datetime | None
    last_task_uuid: str | None
    last_error: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Switch:
    """What a schedule that is switched on or off says of its clock, and whether it was on."""

    cron: str
    timezone: str
    enabled: bool
    now: datetime


def put_schedule(pool: Pool, schedule: NewSchedule, next_fire_at: datetime | None) -> bool:
    """Create a schedule, or replace it, and tell everybody who fires them; returns whether there was none.

    A schedule whose expression and zone are what they were goes on from where it is, and not from `next_fire_at`.
    """
    columns = {
        **{name: getattr(schedule, name) for name in NewSchedule.__dataclass_fields__},
        "context": schedule.context.decode(),
        "tags": list(schedule.tags),
        "catch_up": schedule.catch_up.value,
        "next_fire_at": next_fire_at if schedule.enabled else None,
    }
    with session(pool) as connection:
        row = connection.execute(named_statements()["put_schedule"], columns).fetchone()
    assert row is not None  # noqa: S101  RETURNING of an upsert gives its row
    created: bool = row[0]
    return created


def read_schedule(pool: Pool, name: str) -> tuple[Schedule, datetime] | None:
    """Return a schedule and the moment at which it was read, by the server's clock; None if there is none."""
    with session(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(named_statements()["read_schedule"], {"name": name}).fetchone()
    return None if row is None else schedule_from(row)


def list_schedules(pool: Pool, *, namespace: str | None, after: str | None, limit: int) -> list[dict[str, Any]]:
    """Return schedules by column name, in the order of their names, without their contexts."""
    parameters = {"namespace": namespace, "after": after, "limit": limit}
    with session(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(named_statements()["list_schedules"], parameters).fetchall()


def switch_schedule(pool: Pool, name: str, *, enabled: bool, next_fire_at: Callable[[Switch], datetime | None]) -> bool:
    """Pause or resume a schedule; returns False if there is none. One that is so already stays as it is.

    `next_fire_at` says when a resumed one fires; what was due meanwhile is not made up for.
    """
    statements = named_statements()
    with session(pool) as connection, connection.transaction():
        row = connection.execute(statements["lock_schedule"], {"name": name}).fetchone()
        if row is None:
            return False
        found = Switch(*row)
        if found.enabled is not enabled:
            moment = next_fire_at(found) if enabled else None
            connection.execute(
                statements["switch_schedule"], {"name": name, "enabled": enabled, "next_fire_at": moment}
            )
        return True


def delete_schedule(pool: Pool, name: str) -> bool:
    """Delete a schedule and nothing that it created; returns whether there was one."""
    with session(pool) as connection:
        return connection.execute(named_statements()["delete_schedule"], {"name": name}).rowcount == 1


def schedule_from(row: Mapping[str, Any]) -> tuple[Schedule, datetime]:
    """Make a schedule of a row, and name the moment at which it was read."""
    columns = {name: value for name, value in row.items() if name != "read_at"}
    tags: Sequence[str] = columns["tags"]
    schedule = Schedule(
        **{
            **columns,
            "context": columns["context"].encode(),
            "tags": tuple(tags),
            "catch_up": CatchUp(columns["catch_up"]),
        }
    )
    return schedule, row["read_at"]
