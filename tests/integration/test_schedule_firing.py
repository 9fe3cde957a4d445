"""Schedules that are due, on a real database: each firing has one task, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import Connection
from support.api_runtime import in_threads
from support.flow import Flow, Worker
from support.scheduled import FAR, LIMITS, fire, new_year, put, register, schedule, tasks, text

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.schedule_firing import fire_next, next_firing_s
from tasker_actors.postgres.scheduled_tasks import ScheduledTasks
from tasker_actors.postgres.schedules import NewSchedule
from tasker_actors.postgres.tasks import task_document
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow.cron import parse_cron
from tasker_actors.workflow.schedule import CatchUp, CatchUpLimits
from tasker_actors.workflow.task_planning import NewTaskRow
from tasker_actors.workflow.template import MAX_STEPS

HOUR = timedelta(hours=1)


def test_what_is_due_gets_its_task_and_the_schedule_moves_on(flow: Flow) -> None:
    register(flow.pool)
    due = new_year(flow, 0)
    put(flow, due=due, context=b'{"rate": 1.10}', priority=3, tags=("night",))

    (fired,) = fire(flow)

    (task,) = flow.rows("SELECT * FROM tasker.tasks")
    assert task["context"] == {"rate": 1.1}
    assert task["tags"] == ["night", "schedule:yearly", f"scheduled_for:{text(due)}"]
    assert (task["initiator"], task["reason"], task["priority"]) == ("schedule", "schedule yearly", 3)
    moved = schedule(flow)
    assert moved["last_fired_at"] == due
    assert str(moved["last_task_uuid"]) == str(task["task_uuid"]) == fired.tasks[0].task_uuid
    assert moved["next_fire_at"] > datetime.now(UTC)
    assert moved["last_error"] is None
    assert Worker(flow).run() == 1


def test_what_is_not_due_or_paused_does_not_fire(flow: Flow) -> None:
    register(flow.pool)
    put(flow, "later")
    put(flow, "paused", due=new_year(flow, 0), enabled=False)

    assert fire(flow) == []
    assert schedule(flow, "paused")["next_fire_at"] is None


def test_how_long_it_is_until_the_next_is_told(flow: Flow) -> None:
    assert next_firing_s(flow.pool) is None
    put(flow, "later", due=FAR)
    assert (next_firing_s(flow.pool) or 0) > 3600
    put(flow, "due", due=new_year(flow, 1))
    assert (next_firing_s(flow.pool) or 0) < -3000


def test_each_task_begins_a_trace_of_its_own(flow: Flow) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow, 1), catch_up=CatchUp.ALL)

    fire(flow)

    found = flow.rows("SELECT traceparent, correlation_id FROM tasker.tasks")
    assert len(found) == 2
    assert len({row["traceparent"].split("-")[1] for row in found}) == 2
    assert len({row["correlation_id"] for row in found}) == 2


def test_the_moment_of_a_firing_goes_into_the_context_where_that_is_asked_for(flow: Flow) -> None:
    register(flow.pool)
    due = new_year(flow, 0)
    put(flow, due=due, context=b'{"a": 1}', scheduled_for_key="until")

    fire(flow)

    (task,) = flow.rows("SELECT context FROM tasker.tasks")
    assert task["context"] == {"a": 1, "until": text(due)}


def test_the_newest_version_is_used_unless_one_is_named(flow: Flow) -> None:
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        register(flow.pool, version=version)
    put(flow, "newest", due=new_year(flow, 0))
    put(flow, "named", due=new_year(flow, 0), version="1.2.0")

    fire(flow)

    found = flow.rows("SELECT version, tags[1] AS tag FROM tasker.tasks")
    assert {row["tag"]: row["version"] for row in found} == {"schedule:newest": "1.10.0", "schedule:named": "1.2.0"}


# Exactly once


def test_many_at_the_same_time_fire_it_once(flow: Flow) -> None:
    register(flow.pool)
    due = new_year(flow, 9)
    for number in range(5):
        put(flow, f"all-{number}", due=due, catch_up=CatchUp.ALL)

    in_threads(lambda _: fire(flow, CatchUpLimits(HOUR, 1000, at_once=3)), 8)

    for number in range(5):
        assert tasks(flow, f"all-{number}") == [text(new_year(flow, back)) for back in range(9, -1, -1)]


def test_what_somebody_else_fires_is_passed_over(flow: Flow) -> None:
    register(flow.pool)
    for name in ("first", "second"):
        put(flow, name, due=new_year(flow, 0))

    with flow.in_flight("SELECT FROM tasker.schedules WHERE name = 'first' FOR UPDATE"):
        assert [fired.schedule.name for fired in fire(flow)] == ["second"]

    assert [fired.schedule.name for fired in fire(flow)] == ["first"]


class KilledMidway(ScheduledTasks):
    """Loses its connection when the task was made and the schedule has not moved, or before both."""

    def __init__(self, flow: Flow, *, after_creation: bool) -> None:
        super().__init__(new_trace)
        self._flow = flow
        self._after_creation = after_creation

    def rows(
        self, connection: Connection[Any], schedule: NewSchedule, firings: Sequence[tuple[datetime, str]]
    ) -> list[NewTaskRow]:
        made = super().rows(connection, schedule, firings)
        if self._after_creation:
            connection.execute("SELECT tasker.create_tasks_v1(%s::jsonb)", [task_document(made)])
        self._flow.rows("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
        return made


@pytest.mark.parametrize("after_creation", [False, True])
def test_an_end_in_the_middle_means_nothing_and_the_next_one_fires_it(flow: Flow, after_creation: bool) -> None:
    register(flow.pool)
    due = new_year(flow, 0)
    put(flow, due=due)

    with pytest.raises(DatabaseUnavailableError):
        fire_next(flow.pool, KilledMidway(flow, after_creation=after_creation), LIMITS)
    assert tasks(flow) == []
    assert schedule(flow)["next_fire_at"] == due

    fire(flow)
    assert tasks(flow) == [text(due)]


def test_a_clock_that_is_put_back_fires_nothing_twice(flow: Flow) -> None:
    register(flow.pool)
    due = new_year(flow, 0)
    put(flow, due=due)
    fire(flow)
    flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING 1", due)

    (again,) = fire(flow)

    assert (again.tasks, again.error) == ((), None)
    assert tasks(flow) == [text(due)]
    assert schedule(flow)["next_fire_at"] > datetime.now(UTC)
    assert schedule(flow)["last_task_uuid"] is not None


def test_of_firings_to_make_up_for_those_without_a_task_get_theirs(flow: Flow) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow, 1), catch_up=CatchUp.ALL)
    fire(flow)
    flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING 1", new_year(flow, 3))

    (again,) = fire(flow)

    assert len(again.tasks) == 2
    assert tasks(flow) == [text(new_year(flow, back)) for back in (3, 2, 1, 0)]


def test_another_schedule_of_the_same_template_and_moment_has_a_task_of_its_own(flow: Flow) -> None:
    register(flow.pool)
    due = new_year(flow, 0)
    put(flow, "one", due=due)
    put(flow, "other", due=due)

    fire(flow)

    assert tasks(flow, "one") == tasks(flow, "other") == [text(due)]


@pytest.mark.parametrize("strategy", ["strict", "caller_provided"])
def test_the_firings_of_a_template_with_an_identity_are_different_tasks(flow: Flow, strategy: str) -> None:
    register(flow.pool, identity_strategy=strategy)
    put(flow, due=new_year(flow, 2), catch_up=CatchUp.ALL)

    fire(flow)

    assert tasks(flow) == [text(new_year(flow, back)) for back in (2, 1, 0)]


# Missed firings


@pytest.mark.parametrize(
    ("policy", "made"), [(CatchUp.SKIP, []), (CatchUp.LATEST, [0]), (CatchUp.ALL, [4, 3, 2, 1, 0])]
)
def test_missed_firings_are_made_up_for_as_the_policy_says(flow: Flow, policy: CatchUp, made: list[int]) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow, 4), catch_up=policy)

    fired = fire(flow, CatchUpLimits(grace=timedelta(0), most=1000, at_once=1000))

    assert tasks(flow) == [text(new_year(flow, back)) for back in made]
    assert schedule(flow)["next_fire_at"] == parse_cron("0 0 1 1 *", "UTC").after(new_year(flow, 0))
    assert (fired[0].dropped is None) is (policy is CatchUp.ALL)


def test_more_than_the_limit_are_not_made_up_for_and_the_newest_are(flow: Flow) -> None:
    register(flow.pool)
    put(flow, due=new_year(flow, 100), catch_up=CatchUp.ALL)

    (fired,) = fire(flow, CatchUpLimits(grace=HOUR, most=3, at_once=1000))

    assert tasks(flow) == [text(new_year(flow, back)) for back in (2, 1, 0)]
    assert fired.dropped == (new_year(flow, 100), new_year(flow, 2))


def test_large_contexts_are_made_up_for_in_several_transactions(flow: Flow) -> None:
    register(flow.pool)
    large = b'{"text": "' + b"x" * 1_500_000 + b'"}'
    put(flow, due=new_year(flow, 4), catch_up=CatchUp.ALL, context=large)

    fired = fire(flow)

    assert [len(each.tasks) for each in fired] == [2, 2, 1]
    assert len(tasks(flow)) == 5


def test_of_a_template_with_many_steps_few_are_made_up_for_in_one_transaction(flow: Flow) -> None:
    """So that a transaction has its end long before the connection's time limit, whatever the template."""
    steps = [{"name": f"step{number}", "handler": {"callable": "shop.only"}} for number in range(MAX_STEPS)]
    register(flow.pool, steps=steps)
    put(flow, due=new_year(flow, 11), catch_up=CatchUp.ALL)

    fired = fire(flow)

    assert [len(each.tasks) for each in fired] == [5, 5, 2]
    assert tasks(flow) == [text(new_year(flow, back)) for back in range(11, -1, -1)]
