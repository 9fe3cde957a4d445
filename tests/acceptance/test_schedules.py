"""Schedules and delayed tasks with real processes: each firing has one task, whoever is killed meanwhile."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta

import pytest
from support.project import Project
from support.supervised import COMMAND, Supervised, environment, kill
from support.waiting import until

HANDLERS = """
from tasker_actors import step_handler

@step_handler("tick")
def tick():
    return {}
"""

SCHEDULES = 150
BACK = 9

BACKLOG = """
INSERT INTO tasker.schedules (
    name, namespace, template, cron, timezone, context, priority, tags, catch_up, enabled, next_fire_at, created_at,
    updated_at)
SELECT 'backlog-' || n, 'clock', 'ticking', '0 0 1 1 *', 'UTC', '{}', 0, '{}', 'all', true,
       date_trunc('year', now(), 'UTC') - make_interval(years => %s), now(), now()
FROM generate_series(1, %s) n
RETURNING pg_notify('tasker_schedules', '')
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("schedules") / "project")
    project.module("ticking_handlers", HANDLERS)
    project.template("ticking", {"tick": {}}, namespace="clock")
    # Nothing is found by looking now and then: what is due at a moment is known, what changes is announced.
    variables = {"TASKER_DATABASE__POLL_INTERVAL_MS": "600000", "TASKER_SCHEDULES__POLL_INTERVAL_MS": "600000"}
    with embedded_server.database(migrated=True) as url:
        both = [
            Supervised(project, url, workers=1, concurrency=4, log=f"{name}.log", variables=variables)
            for name in ("a", "b")
        ]
        try:
            yield [one.wait_ready() for one in both]
        finally:
            for one in both:
                one.close()


def firings(one: Supervised, schedule: str) -> list[datetime]:
    """The moments for which a schedule has tasks, in order."""
    rows = one.rows("SELECT tags FROM tasker.tasks WHERE %s = ANY (tags)", f"schedule:{schedule}")
    tags = [tag.partition(":") for row in rows for tag in row["tags"]]
    return sorted(datetime.fromisoformat(moment) for key, _, moment in tags if key == "scheduled_for")


def test_a_delayed_task_begins_in_time_and_not_before(two):
    for one in two:
        task = one.task(one.create("ticking", namespace="clock", delay_seconds=2))
        assert (task["status"], task["ready_steps"]) == ("pending", 0)
        one.wait(task["task_uuid"], "complete")
        (attempt,) = one.attempts(task["task_uuid"], "tick")
        assert attempt["finished_at"] >= datetime.fromisoformat(task["start_at"])


def test_each_firing_has_one_task_also_when_who_fires_is_killed(two):
    """The last of this file: of the two only one is left."""
    a, b = two
    put = [COMMAND, "schedule", "set", "each-second", "clock/ticking", "--cron", "* * * * * *", "--catch-up", "all"]
    done = subprocess.run(
        [*put, "--json", "--url", a.url], env=environment(), capture_output=True, check=True, text=True, timeout=60
    )
    shown = json.loads(done.stdout)
    first, second = (datetime.fromisoformat(moment) for moment in shown["next_fire_times"][:2])
    assert second - first == timedelta(seconds=1)
    until(lambda: len(firings(b, "each-second")) >= 2, 60)

    a.rows(BACKLOG, BACK, SCHEDULES)
    count = "SELECT count(*) AS n FROM tasker.tasks WHERE tags[1] LIKE 'schedule:backlog-%%' AND %s"
    until(lambda: a.rows(count, True)[0]["n"] >= SCHEDULES * (BACK + 1) // 4, 60)
    kill(a.process.pid)

    until(lambda: b.rows(count, True)[0]["n"] >= SCHEDULES * (BACK + 1), 60)
    caught_up_at = b.rows("SELECT now() AS now")[0]["now"]
    until(lambda: firings(b, "each-second")[-1] > caught_up_at, 60)
    for number in range(1, SCHEDULES + 1, 10):
        years = [moment.year for moment in firings(b, f"backlog-{number}")]
        assert years == list(range(years[-1] - BACK, years[-1] + 1))
    assert b.rows(count, True)[0]["n"] == SCHEDULES * (BACK + 1)
    each_second = firings(b, "each-second")
    assert each_second == [each_second[0] + timedelta(seconds=number) for number in range(len(each_second))]

    # What was created runs, and what one fired is counted by it.
    assert b.http.patch("/v1/schedules/each-second", json={"enabled": False}).status_code == 200
    until(lambda: b.rows("SELECT count(*) AS n FROM tasker.tasks WHERE status <> 'complete'")[0]["n"] == 0, 60)
    fired = b.metrics()["tasker_schedules_firings_total"]
    labels = frozenset({("namespace", "clock"), ("result", "success")})
    assert 0 < fired[labels] <= len(each_second) + SCHEDULES * (BACK + 1)
