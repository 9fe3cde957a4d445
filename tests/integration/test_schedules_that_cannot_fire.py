"""Schedules that cannot fire, on a real database: what it costs each, and that it costs the others nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from support.flow import Flow
from support.scheduled import AT_COMMIT, AT_ONCE, LIMITS, fire, new_year, put, refusing, register, schedule, tasks, text

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.schedule_firing import fire_next, next_firing_s
from tasker_actors.postgres.scheduled_tasks import ScheduledTasks
from tasker_actors.postgres.session import DatabaseBusyError, QueryTimeoutError
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow import cron
from tasker_actors.workflow.schedule import CatchUp, CatchUpLimits

# What costs a firing


def test_a_template_that_is_gone_is_told_and_nothing_else_is_harmed(flow: Flow) -> None:
    register(flow.pool)
    put(flow, "bad", due=new_year(flow, 1), template="wrk", catch_up=CatchUp.ALL)
    put(flow, "good", due=new_year(flow, 0))

    fired = {each.schedule.name: each for each in fire(flow)}

    assert fired["bad"].error == "there is no template shop/wrk (did you mean 'shop/work'?)"
    found = schedule(flow, "bad")
    assert found["last_error"]["message"] == fired["bad"].error
    assert found["last_error"]["scheduled_for"] == text(new_year(flow, 1))
    assert found["enabled"]
    assert found["next_fire_at"] > datetime.now(UTC)
    assert found["last_fired_at"] is None
    assert len(tasks(flow, "good")) == 1


def test_a_version_that_is_gone_is_told(flow: Flow) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow, 0), version="9.9.9")

    (fired,) = fire(flow)

    assert fired.error == "template shop/work has no version 9.9.9; it has 1.0.0"


def test_a_context_that_a_new_version_refuses_is_told_and_the_next_firing_is_tried(flow: Flow) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow, 0), context=b'{"amount": "1"}')
    schema = {"type": "object", "properties": {"amount": {"type": "integer"}}}
    register(flow.pool, version="2.0.0", input_schema=schema)

    (fired,) = fire(flow)

    assert "/context/amount" in (fired.error or "")
    assert schedule(flow)["last_error"]["message"] == fired.error

    register(flow.pool, version="3.0.0")
    flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING 1", new_year(flow, 0))
    fire(flow)
    assert schedule(flow)["last_error"] is None
    assert len(tasks(flow)) == 1


def test_a_drop_leaves_the_last_error_to_be_seen(flow: Flow) -> None:
    put(flow, due=new_year(flow, 0))
    fire(flow)
    flow.rows("UPDATE tasker.schedules SET catch_up = 'skip', next_fire_at = %s RETURNING 1", new_year(flow, 9))

    (fired,) = fire(flow, CatchUpLimits(timedelta(0), 1000, 1000))

    assert fired.dropped is not None
    assert schedule(flow)["last_error"] is not None


def test_what_no_task_may_have_is_told(flow: Flow) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow), priority=1001)

    (fired,) = fire(flow)

    assert "its task cannot be created: /priority" in (fired.error or "")
    assert schedule(flow)["enabled"]


@pytest.mark.parametrize("constraint", ["CHECK (priority <> 7)", "UNIQUE (priority)"])
def test_a_task_that_the_database_refuses_is_told(flow: Flow, constraint: str) -> None:
    """As a constraint of the operators' own makes it."""
    registered = register(flow.pool)
    flow.create(registered, priority=7)
    put(flow, due=new_year(flow), priority=7)
    with flow.pool.connection() as connection:
        connection.execute(
            f"ALTER TABLE tasker.tasks ADD CONSTRAINT ours {constraint} NOT VALID"
            if "CHECK" in constraint
            else f"ALTER TABLE tasker.tasks ADD CONSTRAINT ours {constraint}"
        )
        try:
            (fired,) = fire(flow)
        finally:
            connection.execute("ALTER TABLE tasker.tasks DROP CONSTRAINT ours")

    assert "the database refused its task" in (fired.error or "")
    assert schedule(flow)["next_fire_at"] > datetime.now(UTC)


@pytest.mark.parametrize("trigger", [AT_ONCE, AT_COMMIT])
def test_a_task_that_a_trigger_refuses_costs_its_schedule_one_firing_and_no_other(flow: Flow, trigger: str) -> None:
    register(flow.pool)
    put(flow, "bad", due=new_year(flow, 1), priority=7)
    put(flow, "good", due=new_year(flow, 0))

    with refusing(flow, trigger):
        fired = {each.schedule.name: each for each in fire(flow)}

    assert fired["bad"].error == "the database refused its task: not with us"
    found = schedule(flow, "bad")
    assert found["last_error"]["message"] == fired["bad"].error
    assert found["enabled"]
    assert found["next_fire_at"] > datetime.now(UTC)
    assert len(tasks(flow, "good")) == 1


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("40P01", DatabaseBusyError),
        ("55P03", DatabaseBusyError),
        ("53200", DatabaseUnavailableError),
        ("57014", QueryTimeoutError),
        ("57P01", DatabaseUnavailableError),
        ("08006", DatabaseUnavailableError),
    ],
)
def test_what_passes_by_itself_costs_no_firing(flow: Flow, state: str, error: type[Exception]) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow), priority=7)

    with refusing(flow, AT_ONCE, state), pytest.raises(error):
        fire(flow)

    assert (schedule(flow)["last_error"], schedule(flow)["next_fire_at"]) == (None, new_year(flow))
    assert len(fire(flow)) == 1
    assert tasks(flow) == [text(new_year(flow))]


def test_a_right_that_one_task_lacks_leaves_its_schedule_due_and_the_others_fire(flow: Flow) -> None:
    """As under a policy of row security: once somebody has granted it, nothing was missed."""
    register(flow.pool)
    put(flow, "bad", due=new_year(flow, 1), priority=7)
    put(flow, "good", due=new_year(flow, 0))

    with refusing(flow, AT_ONCE, "insufficient_privilege"):
        fired = {each.schedule.name: each for each in fire(flow)}

    assert fired["bad"].left
    assert "not with us" in schedule(flow, "bad")["last_error"]["message"]
    assert len(tasks(flow, "good")) == 1
    fire(flow)
    assert len(tasks(flow, "bad")) == 1


def test_a_schedule_that_the_database_keeps_from_moving_on_is_left_and_has_no_task(flow: Flow) -> None:
    register(flow.pool)
    put(flow, "bad", due=new_year(flow, 1), priority=7)
    put(flow, "good", due=new_year(flow, 0))

    with refusing(flow, "TRIGGER ours BEFORE UPDATE ON tasker.schedules"):
        fired = {each.schedule.name: each for each in fire(flow)}

    assert (fired["bad"].left, fired["bad"].tasks) == (True, ())
    assert (len(tasks(flow, "bad")), len(tasks(flow, "good"))) == (0, 1)


# What one supervisor cannot fire, and others may


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("timezone", "Mars/Olympus", "timezone: there is no time zone"),
        ("cron", "every day", "cron: 'every day' has not five"),
        ("context", "[]", "TypeError"),
    ],
)
def test_what_nobody_can_read_here_stays_due_with_the_reason(flow: Flow, column: str, value: str, message: str) -> None:
    register(flow.pool)
    put(flow, "bad", due=new_year(flow, 1), scheduled_for_key="at")
    put(flow, "good", due=new_year(flow, 0))
    query = psycopg.sql.SQL("UPDATE tasker.schedules SET {} = %s WHERE name = 'bad' RETURNING 1")
    with flow.pool.connection() as connection:
        connection.execute(query.format(psycopg.sql.Identifier(column)), [value])

    fired = {each.schedule.name: each for each in fire(flow)}

    assert fired["bad"].left
    found = schedule(flow, "bad")
    assert (found["enabled"], found["next_fire_at"]) == (True, new_year(flow, 1))
    assert message in found["last_error"]["message"]
    assert found["last_error"]["scheduled_for"] == text(new_year(flow, 1))
    assert len(tasks(flow, "good")) == 1


def test_a_definition_that_cannot_be_read_here_leaves_it_due(flow: Flow) -> None:
    register(flow.pool)
    flow.rows("UPDATE tasker.templates SET definition = '{\"name\": 1}', content_hash = 'later' RETURNING 1")
    put(flow, due=new_year(flow, 0))

    (fired,) = fire(flow)

    assert fired.left
    assert "stored definition" in schedule(flow)["last_error"]["message"]
    assert schedule(flow)["next_fire_at"] == new_year(flow)


def test_what_a_supervisor_without_its_time_zone_left_is_fired_by_another(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow, 0), timezone="Europe/Berlin")
    with monkeypatch.context() as badly_equipped:
        badly_equipped.setattr(cron, "_zone_names", lambda: frozenset({"UTC"}))
        (left,) = fire(flow)
    assert left.left

    (fired,) = fire(flow)

    assert (len(fired.tasks), schedule(flow)["last_error"]) == (1, None)


def test_one_that_was_left_is_passed_over_until_it_is_put_anew(flow: Flow) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow, 0), timezone="Mars/Olympus")
    (left,) = fire(flow)
    passed_over = {"yearly": left.schedule.updated_at}
    making = ScheduledTasks(new_trace)
    assert fire_next(flow.pool, making, LIMITS, passed_over) is None
    assert next_firing_s(flow.pool, passed_over) is None
    assert (next_firing_s(flow.pool) or 0) < 0

    put(flow, due=new_year(flow, 0))

    assert (next_firing_s(flow.pool, passed_over) or 0) < 0
    fired = fire_next(flow.pool, making, LIMITS, passed_over)
    assert fired is not None
    assert len(fired.tasks) == 1
