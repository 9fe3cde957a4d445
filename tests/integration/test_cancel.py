"""Cancelling: every step that is not finished ends, and nothing that comes later revives the task (DESIGN 3 rule 2)."""

from __future__ import annotations

import pytest
from support.flow import CHAIN, Flow, Worker
from support.leases import AGAIN, DONE, NEVER, event, finish

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.tasks import Lease, cancel_task


def test_a_cancel_ends_every_step_that_is_not_finished_and_names_the_running_ones(flow: Flow):
    graph = {"done": [], "failed": [], "retried": [], "running": [], "waiting": [], "below": ["waiting"]}
    (row,) = flow.create(flow.register(graph))
    worker = Worker(flow)
    steps = {step.plan.name: step for step in worker.claim()}
    worker.commit(finish(steps["done"]), finish(steps["failed"], NEVER), finish(steps["retried"], AGAIN))
    flow.settlement()

    cancellation = flow.cancel(row.task_uuid)

    assert (cancellation.status, cancellation.cancelled) == ("in_progress", True)
    assert set(cancellation.leases) == {Lease(steps[name].token, worker.worker_id) for name in ("running", "waiting")}
    assert flow.states(row.task_uuid) == {
        "done": "complete",
        "failed": "error",
        "retried": "cancelled",
        "running": "cancelled",
        "waiting": "cancelled",
        "below": "cancelled",
    }
    task = flow.task(row.task_uuid)
    assert (task["status"], task["open_steps"]) == ("cancelled", 0)
    assert task["completed_at"] is not None


@pytest.mark.parametrize("outcome", [DONE, AGAIN, NEVER], ids=["success", "retry", "failure"])
def test_a_commit_after_a_cancel_does_not_revive_the_task(flow: Flow, outcome):
    (row,) = flow.create(flow.register(CHAIN, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    flow.cancel(row.task_uuid)
    before = (flow.task(row.task_uuid), flow.steps(row.task_uuid))

    reply = worker.commit(finish(step, outcome), places=5)

    assert (reply.won, reply.released, [*reply.steps], reply.finished_tasks) == (frozenset(), 0, [], {})
    assert (flow.task(row.task_uuid), flow.steps(row.task_uuid)) == before
    assert (flow.queue(), flow.attempts(row.task_uuid), worker.claim()) == ([], [], [])


def test_a_lease_of_a_cancelled_task_is_reported_as_lost(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    steps = worker.claim()
    flow.cancel(row.task_uuid)

    assert worker.claimer.extend(steps) == {steps[0].token}


def test_settling_a_worker_leaves_its_cancelled_steps_cancelled(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    (step,) = worker.claim()
    flow.cancel(row.task_uuid)

    flow.settlement().settle(worker.worker_id, running={step.token}, reason="SIGKILL")

    assert set(flow.states(row.task_uuid).values()) == {"cancelled"}


@pytest.mark.parametrize("outcome", [DONE, NEVER], ids=["complete", "error"])
def test_a_finished_task_cannot_be_cancelled(flow: Flow, outcome):
    (row,) = flow.create(flow.register({"only": []}))
    Worker(flow).run(outcome)
    before = (flow.task(row.task_uuid), flow.steps(row.task_uuid))

    assert flow.cancel(row.task_uuid).cancelled is False
    assert (flow.task(row.task_uuid), flow.steps(row.task_uuid)) == before


def test_a_second_cancel_changes_nothing(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    flow.cancel(row.task_uuid)
    before = flow.task(row.task_uuid)

    cancellation = flow.cancel(row.task_uuid)

    assert (cancellation.status, cancellation.cancelled, cancellation.leases) == ("cancelled", False, ())
    assert flow.task(row.task_uuid) == before


def test_an_unknown_task_is_not_found(flow: Flow):
    assert cancel_task(flow.pool, new_uuid7()) is None
