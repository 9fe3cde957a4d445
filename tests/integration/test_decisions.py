"""Decisions: which steps exist is settled in the commit of the decision, with all that follows from it."""

from __future__ import annotations

from support.dynamic import APPROVAL, APPROVAL_TYPES, chosen
from support.flow import Flow, Worker, by_name
from support.leases import finish


def test_a_decision_makes_the_steps_that_it_names_and_the_convergence_waits_for_those(flow: Flow):
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES))
    worker = Worker(flow)
    assert flow.states(row.task_uuid) == {
        "validate": "enqueued",
        "route": "pending",
        "small": "undecided",
        "large": "undecided",
        "finish": "undecided",
    }
    worker.commit(*map(finish, worker.claim()))

    reply = worker.commit(finish(worker.claim()[0], chosen("large")))

    assert reply.released == 1
    assert flow.states(row.task_uuid) == {
        "validate": "complete",
        "route": "complete",
        "large": "enqueued",
        "finish": "pending",
    }
    assert flow.task(row.task_uuid)["open_steps"] == 2
    worker.commit(*map(finish, worker.claim()))
    last = by_name(worker.claim())["finish"]
    assert set(last.dependency_results) == {"validate", "route", "large"}
    assert worker.commit(finish(last)).finished_tasks == {row.task_uuid: "complete"}
