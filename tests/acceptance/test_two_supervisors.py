"""Two supervisors on one database share the work and nothing else (DESIGN 1)."""

from __future__ import annotations

import pytest
from support.leases import template
from support.project import Project
from support.stored_work import create
from support.supervised import Supervised, kill
from support.waiting import until

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.templates import register_template

HANDLERS = """
import threading
from pathlib import Path
from tasker_actors import step_handler

@step_handler("short")
def short():
    threading.Event().wait(0.02)

@step_handler("until_cancelled")
def until_cancelled(context):
    marks = Path(context.get_input("marks"))
    marks.with_suffix(".begun").touch()
    pause = threading.Event()
    while not context.cancelled:
        pause.wait(0.01)
    marks.with_suffix(".cancelled").touch()

@step_handler("gate")
def gate(context):
    marks = Path(context.get_input("marks"))
    marks.with_suffix(f".{context.retry_count}").touch()
    pause = threading.Event()
    while not marks.with_suffix(".open").exists():
        pause.wait(0.01)
"""

SOON_S = 10
"""For what is pushed, and would come in ten minutes otherwise; the benchmarks measure how soon it really comes."""


@pytest.fixture(scope="module")
def two(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("two") / "project")
    project.module("two_handlers", HANDLERS)
    project.template(
        "pair",
        {
            "one": {"handler": "short", "publishes_events": [{"name": "pair.one"}]},
            "two": {"handler": "short", "publishes_events": [{"name": "pair.two"}], "dependencies": ["one"]},
        },
        namespace="shared",
    )
    project.template("cancelled", {"until_cancelled": {"timeout_seconds": 120}}, namespace="shared")
    project.template("gate", {"gate": {"retry": {"max_attempts": 2, "backoff": "none"}}}, namespace="shared")
    with embedded_server.database(migrated=True) as url:
        # Both at once: registering templates and settling this host's dead workers must not trip over each other.
        # Nobody finds out by himself, within the time of these tests, what he was not told: no poll finds work, no
        # extension of a lease that it was cancelled, no end of one and no leader that a worker is dead.
        variables = {
            "TASKER_DATABASE__POLL_INTERVAL_MS": "600000",
            "TASKER_WORKER__LEASE_MS": "600000",
            "TASKER_MAINTENANCE__STALE_WORKER_MS": "600000",
        }
        both = [
            Supervised(project, url, workers=1, concurrency=4, log=f"{name}.log", variables=variables)
            for name in ("a", "b")
        ]
        try:
            yield [one.wait_ready() for one in both]
        finally:
            for one in both:
                one.close()


def test_starting_at_the_same_time_costs_neither_a_worker(two):
    for one in two:
        assert one.logged("Worker ended") == []
        assert {worker["restarts"] for worker in one.workers().values()} == {0}


def test_work_created_at_one_is_taken_at_once_by_the_other(two, tmp_path):
    """A wake-up crosses the supervisors, and so does a cancel; all places of both are needed."""
    a, b = two
    begun = []
    for number in range(8):
        marks = tmp_path / f"marks{number}"
        context = {"marks": str(marks)}
        begun.append((marks, (a if number % 2 else b).create("cancelled", namespace="shared", context=context)))
    for marks, _ in begun:
        until(marks.with_suffix(".begun").exists, SOON_S)

    for _, task_uuid in begun:
        assert a.http.delete(f"/v1/tasks/{task_uuid}").status_code == 200

    for marks, _ in begun:
        until(marks.with_suffix(".cancelled").exists, SOON_S)


def test_they_share_the_work_and_each_counts_its_own(two):
    a, b = two
    before = [one.event_stats()["router"]["durable_routed"] for one in two]

    a.create_many("pair", 200, namespace="shared")
    until(lambda: a.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL")[0]["n"] == 0, 60)

    queue = [row["message"] for row in a.queue("shared_domain_events")]
    assert len(queue) == 400 == len({message["metadata"]["step_uuid"] for message in queue})

    def shares():
        now = [one.event_stats()["router"]["durable_routed"] for one in two]
        return [after - earlier for after, earlier in zip(now, before, strict=True)]

    until(lambda: sum(shares()) == 400)
    assert min(shares()) > 20
    by_worker = a.rows(
        "SELECT w.supervisor_id::text AS id, count(*) AS n FROM tasker.step_attempts s JOIN tasker.workers w"
        " USING (worker_id) GROUP BY 1"
    )
    own = [one.event_stats()["worker_id"] for one in two]
    assert {row["id"]: row["n"] for row in by_worker} == dict(zip(own, shares(), strict=True))
    requests = frozenset({("namespace", "shared"), ("task_type", "pair")})
    assert a.metrics()["tasker_tasks_requests_total"][requests] == 200
    assert b.metrics()["tasker_tasks_requests_total"][requests] == 0


def test_each_lists_the_workers_of_both(two):
    own = {one.event_stats()["worker_id"] for one in two}
    for one in two:
        workers = [worker for worker in one.get("/v1/workers")["workers"] if worker["alive"]]
        assert {worker["supervisor_id"] for worker in workers} == own
        assert all(worker["host"] for worker in workers)
        assert {worker["pid"] for worker in workers} == set().union(*(each.worker_pids() for each in two))


def test_a_task_is_read_and_waited_for_at_either(two):
    a, b = two
    correlation_id = new_uuid7()

    task_uuid = a.create("pair", namespace="shared", correlation_id=correlation_id)

    b.wait(task_uuid, "complete")
    events = b.get("/v1/events", correlation_id=correlation_id)["events"]
    assert [event["event_name"] for event in events] == ["pair.one", "pair.two"]


def test_the_step_of_a_killed_worker_runs_again_soon_on_the_other(two, tmp_path):
    """Its own supervisor sees it end, gives back what it held, and wakes the other (DESIGN G3)."""
    marks = tmp_path / "marks"
    task_uuid = two[0].create("gate", namespace="shared", context={"marks": str(marks)})
    until(marks.with_suffix(".0").exists, SOON_S)
    query = "SELECT supervisor_id::text, slot, pid FROM tasker.steps JOIN tasker.workers USING (worker_id)"
    (ran,) = two[0].rows(f"{query} WHERE task_uuid = %s", task_uuid)

    kill(ran["pid"])

    until(marks.with_suffix(".1").exists, SOON_S)
    marks.with_suffix(".open").touch()
    two[0].wait(task_uuid, "complete")
    its_own = next(one for one in two if one.event_stats()["worker_id"] == ran["supervisor_id"])
    its_own.wait_workers(lambda workers: ran["slot"] in workers and workers[ran["slot"]]["pid"] != ran["pid"])
    assert its_own.workers()[ran["slot"]]["incarnation"] > 1
    assert its_own.workers()[ran["slot"]]["last_reason"] == "signal"


def test_steps_whose_handler_neither_has_wait_uncounted_and_both_say_what_is_missing(two):
    """The last of this file: both leave the namespace to others for a while."""
    with open_pool(two[0].database_url, application_name="tests", max_size=1) as pool:
        with pool.connection() as connection:
            newer = template({"only": []}, name="newer", namespace="shared")
            registered, _ = register_template(connection, newer, accept_changed_content=False)
        task_uuid = create(pool, registered).task_uuid

    missing = "A handler is missing here; steps of the template are given back, its namespace is left to others"

    def both_say_so():
        two[0].create("pair", namespace="shared")  # wakes them; they would look again in ten minutes
        return all(one.logged(missing, template="newer", handler="shared.only") for one in two)

    until(both_say_so, 30)

    def step():
        (row,) = two[0].rows("SELECT state, attempts, token FROM tasker.steps WHERE task_uuid = %s", task_uuid)
        return row

    until(lambda: step() == {"state": "enqueued", "attempts": 0, "token": None})
    assert two[0].rows("SELECT FROM tasker.step_attempts WHERE task_uuid = %s", task_uuid) == []
