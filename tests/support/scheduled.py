"""Schedules in a real database: put there, made due, and looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from support.flow import Flow

from tasker_actors.postgres.schedule_firing import Fired, fire_next
from tasker_actors.postgres.scheduled_tasks import ScheduledTasks
from tasker_actors.postgres.schedules import NewSchedule, put_schedule
from tasker_actors.postgres.session import Pool
from tasker_actors.postgres.templates import register_template
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.schedule import CatchUp, CatchUpLimits
from tasker_actors.workflow.template import TaskTemplate

LIMITS = CatchUpLimits(grace=timedelta(minutes=1), most=1000, at_once=1000)
FAR = datetime.fromisoformat("2100-01-01T00:00:00Z")
AT_ONCE = "TRIGGER ours BEFORE INSERT ON tasker.tasks"
AT_COMMIT = "CONSTRAINT TRIGGER ours AFTER INSERT ON tasker.tasks DEFERRABLE INITIALLY DEFERRED"


def register(pool: Pool, **changes: Any) -> RegisteredTemplate:
    """Register the template that schedules of tests are of, with some keys changed."""
    keys = {
        "name": "work",
        "namespace_name": "shop",
        "version": "1.0.0",
        "steps": [{"name": "only", "handler": {"callable": "shop.only"}}],
    }
    with pool.connection() as connection:
        template = TaskTemplate.model_validate({**keys, **changes})
        return register_template(connection, template, accept_changed_content=False)[0]


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


def text(moment: datetime) -> str:
    """Write a moment as tags, keys and errors have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fire(flow: Flow, limits: CatchUpLimits = LIMITS) -> list[Fired]:
    """Fire all that is due, as a supervisor does: what it must leave it looks at once."""
    making = ScheduledTasks(new_trace)
    found: list[Fired] = []
    left: dict[str, datetime] = {}
    while (fired := fire_next(flow.pool, making, limits, left)) is not None:
        found.append(fired)
        if fired.left:
            left[fired.schedule.name] = fired.schedule.updated_at
    return found


@contextmanager
def refusing(flow: Flow, trigger: str, state: str = "raise_exception") -> Iterator[None]:
    """Have a trigger of the operators' own that refuses what has the priority 7, with this SQLSTATE."""
    with flow.pool.connection() as connection:
        connection.execute(
            "CREATE FUNCTION ours() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.priority = 7 THEN"
            f" RAISE EXCEPTION 'not with us' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$"
        )
        connection.execute(f"CREATE {trigger} FOR EACH ROW EXECUTE FUNCTION ours()")
    try:
        yield
    finally:
        with flow.pool.connection() as connection:
            connection.execute("DROP FUNCTION ours CASCADE")
