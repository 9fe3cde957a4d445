"""Schedules in a real database: put there, made due, and looked at."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from support.flow import Flow

from tasker_actors.postgres.schedule_firing import Fired, fire_next
from tasker_actors.postgres.scheduled_tasks import ScheduledTasks
from tasker_actors.postgres.schedules import NewSchedule, put_schedule
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow.schedule import CatchUp, CatchUpLimits

LIMITS = CatchUpLimits(grace=timedelta(minutes=1), most=1000, at_once=1000)
FAR = datetime.fromisoformat("2100-01-01T00:00:00Z")


def put(flow: Flow, name: str = "yearly", due: datetime = FAR, **changes: Any) -> None:
    """Put a schedule that is due at this moment; by default every new year."""
    columns = {
        "name": name,
        "namespace": "shop",
        "template": "work",
        "version": None,
        "cron": "0 0 1 1 *",
        "timezone": "UTC",
        "context": b"{}",
        "scheduled_for_key": None,
        "priority": 0,
        "tags": (),
        "catch_up": CatchUp.LATEST,
        "enabled": True,
    }
    put_schedule(flow.pool, NewSchedule(**{**columns, **changes}), due)


def new_year(flow: Flow, back: int = 0) -> datetime:
    """Return the beginning of a year by the server's clock, `back` years before this one.

    Schedules of tests fire once a year, so that no firing comes while one of them runs.
    """
    query = "SELECT date_trunc('year', now(), 'UTC') - make_interval(years => %s) AS moment"
    moment: datetime = flow.rows(query, back)[0]["moment"]
    return moment


def schedule(flow: Flow, name: str = "yearly") -> dict[str, Any]:
    """Read a schedule's row."""
    return flow.rows("SELECT * FROM tasker.schedules WHERE name = %s", name)[0]


def tasks(flow: Flow, name: str = "yearly") -> list[str]:
    """Read what the tasks of a schedule were scheduled for, in order."""
    found = flow.rows("SELECT tags FROM tasker.tasks WHERE %s = ANY (tags)", f"schedule:{name}")
    moments = [tag.partition(":")[2] for row in found for tag in row["tags"] if tag.startswith("scheduled_for:")]
    return sorted(moments)


def fire(flow: Flow, limits: CatchUpLimits = LIMITS) -> list[Fired]:
    """Fire all that is due, as a supervisor does."""
    making = ScheduledTasks(new_trace)
    found = []
    while (fired := fire_next(flow.pool, making, limits)) is not None:
        found.append(fired)
    return found
