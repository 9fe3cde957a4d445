"""Priorities before a backlog of 100,000 steps: the urgent overtake it, and nothing waits for ever (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.backlog import add_backlog
from support.flow import Flow, Worker, own_database
from support.leases import AGAIN, finish
from support.reading import reading
from support.servers import DatabaseServer

from tasker_actors.postgres.connect import connect
from tasker_actors.workflow.registered import RegisteredTemplate

BACKLOG = 100_000
"""The oldest is a thousand seconds older than the youngest."""


@pytest.fixture(scope="module")
def flow(embedded_server: DatabaseServer) -> Iterator[Flow]:
    """A database of its own with the backlog, which no test uses up."""
    for flow in own_database(embedded_server):
        add_backlog(flow, flow.register({"only": []}), BACKLOG)
        yield flow
        flow.close()


@pytest.fixture
def worker(flow: Flow) -> Worker:
    return Worker(flow)


@pytest.fixture
def urgent(flow: Flow) -> RegisteredTemplate:
    """The same template, for tasks of a test."""
    return flow.register({"only": []})


def made_older(flow: Flow, registered: RegisteredTemplate, hours: float, priority: int = 0) -> str:
    """Create a task as if it were so many hours ago; returns its id."""
    (row,) = flow.create(registered, priority=priority)
    with flow.pool.connection() as connection:
        for statement in (
            "UPDATE tasker.tasks SET created_at = created_at - make_interval(secs => %s) WHERE task_uuid = %s",
            "UPDATE tasker.steps SET run_at = run_at - make_interval(secs => %s) WHERE task_uuid = %s",
        ):
            connection.execute(statement, [hours * 3600, row.task_uuid])
    return row.task_uuid


def claimed(worker: Worker, count: int = 1) -> list[str]:
    return [step.task.task_uuid for step in worker.claim(count)]


def test_an_urgent_task_is_claimed_before_a_backlog_that_was_there_first(flow, worker, urgent):
    (row,) = flow.create(urgent, priority=1)

    assert claimed(worker) == [row.task_uuid]


def test_the_more_urgent_comes_first_and_of_two_alike_the_older(flow, worker, urgent):
    rows = [flow.create(urgent, priority=priority)[0].task_uuid for priority in (3, 1000, 3, 7)]

    assert claimed(worker, 4) == [rows[1], rows[3], rows[0], rows[2]]


def test_without_priority_the_oldest_of_the_backlog_is_next(flow, worker, urgent):
    (youngest,) = flow.create(urgent)
    old = made_older(flow, urgent, hours=0.5)
    oldest = flow.rows("SELECT task_uuid::text FROM tasker.tasks ORDER BY created_at LIMIT 2")

    assert claimed(worker, 2) == [old, oldest[1]["task_uuid"]]
    assert flow.states(youngest.task_uuid) == {"only": "enqueued"}


def test_a_stream_of_urgent_tasks_does_not_overtake_what_is_older_than_their_priority_is_worth(flow, worker, urgent):
    patient = made_older(flow, urgent, hours=5.01)
    stream = [flow.create(urgent, priority=5)[0].task_uuid for _ in range(20)]
    impatient = made_older(flow, urgent, hours=4.9)

    assert claimed(worker, 22) == [patient, *stream, impatient]


def test_a_successor_and_a_step_that_was_given_back_are_as_urgent_as_their_task(flow, worker):
    (row,) = flow.create(flow.register({"first": [], "then": ["first"]}, name="pair"), priority=9)
    (step,) = worker.claim(1)
    flow.settlement().settle(worker.worker_id, running=(), reason="killed")
    second = Worker(flow)
    (again,) = second.claim(1)

    assert (step.task.task_uuid, again.task.task_uuid) == (row.task_uuid, row.task_uuid)


def test_a_retry_that_is_due_is_as_urgent_as_its_task(flow, worker):
    (row,) = flow.create(flow.register({"only": []}, name="retried", retry={"backoff": "none"}), priority=9)
    (step,) = worker.claim(1)
    worker.commit(finish(step, AGAIN))

    assert claimed(worker) == [row.task_uuid]


@pytest.mark.parametrize("statistics", ["none", "fresh"])
def test_a_claim_before_the_backlog_reads_what_it_takes_in_the_order_of_the_index(flow, worker, urgent, statistics):
    """A scan of the whole table, or a sort of the backlog, would read all of it."""
    flow.create(urgent, priority=2, count=5)
    with connect(flow.url, application_name="tests") as connection:
        if statistics == "fresh":
            connection.execute("ANALYZE tasker.steps, tasker.tasks")
        with reading(connection, most_rows=100):
            connection.execute("SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 5, 30000, 1000000)", [worker.worker_id])
    assert flow.rows("SELECT count(*) AS n FROM tasker.steps WHERE worker_id = %s", worker.worker_id) == [{"n": 5}]
