"""Successors that a commit leases to its own worker at once (DESIGN 3 rules 10 and 12)."""

from __future__ import annotations

import pytest
from support.flow import CHAIN, Flow, Worker
from support.leases import DONE, MIB, NEVER, finish

from tasker_actors.workflow.outcome import StepSuccess

FAN_OUT = {"root": [], **{f"leaf{number}": ["root"] for number in range(6)}}


def test_a_chain_costs_one_claim_and_then_one_commit_a_step(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    (first,) = worker.claim()

    (second,) = worker.continued(worker.commit(finish(first, StepSuccess({"n": 1})), places=1), first)
    (third,) = worker.continued(worker.commit(finish(second, StepSuccess({"n": 2})), places=1), first)
    reply = worker.commit(finish(third), places=1)

    assert third.dependency_results == {"first": {"n": 1}, "second": {"n": 2}}
    assert (second.attempt, second.suspect, second.plan.name) == (1, False, "second")
    assert ([*reply.steps], reply.finished_tasks) == ([], {row.task_uuid: "complete"})


def test_what_is_continued_is_leased_like_a_claim_and_the_rest_is_released(flow: Flow):
    (row,) = flow.create(flow.register(FAN_OUT))
    worker = Worker(flow)
    (root,) = worker.claim()

    reply = worker.commit(finish(root), places=2)

    assert (len(reply.steps), reply.released) == (2, 4)
    leased = {step["name"]: step for step in flow.steps(row.task_uuid).values() if step["state"] == "in_progress"}
    assert {step["token"] for step in leased.values()} == {one["token"] for one in reply.steps}
    assert {step["worker_id"] for step in leased.values()} == {worker.worker_id}
    assert all((step["run_at"] - step["updated_at"]).total_seconds() == 30 for step in leased.values())
    assert len(Worker(flow).claim()) == 4


@pytest.mark.parametrize("places", [0, -3])
def test_without_a_free_place_nothing_is_continued(flow: Flow, places: int):
    flow.create(flow.register(CHAIN))
    worker = Worker(flow)

    reply = worker.commit(finish(worker.claim()[0]), places=places)

    assert ([*reply.steps], reply.released) == ([], 1)


def test_a_blocked_successor_takes_no_place(flow: Flow):
    graph = {"good": [], "bad": [], "below_bad": ["bad"], "below_both": ["bad", "good"], "below_good": ["good"]}
    flow.create(flow.register(graph))
    worker = Worker(flow)
    steps = {step.plan.name: step for step in worker.claim()}

    reply = worker.commit(finish(steps["bad"], NEVER), finish(steps["good"]), places=1)

    assert [worker.plans.get(steps["good"].task.template_id, one["position"]).name for one in reply.steps] == [
        "below_good"
    ]


def test_the_input_of_continued_steps_is_bounded_by_bytes_and_one_always_fits(flow: Flow):
    flow.create(flow.register(FAN_OUT))
    worker = Worker(flow)
    (root,) = worker.claim()

    reply = worker.commit(finish(root, StepSuccess({"text": "x" * (MIB * 2 // 5)})), places=6)

    assert len(reply.steps) == 2
    assert reply.released == 4


def test_a_large_result_with_many_successors_is_stored(flow: Flow):
    (row,) = flow.create(flow.register({"root": [], **{f"leaf{number}": ["root"] for number in range(40)}}))
    worker = Worker(flow)
    (root,) = worker.claim()

    worker.commit(finish(root, StepSuccess({"text": "x" * 8 * MIB})), places=40)

    assert flow.states(row.task_uuid)["root"] == "complete"
    assert worker.claim(1)[0].dependency_results["root"]["text"] == "x" * 8 * MIB


def test_a_continued_step_that_its_worker_cannot_take_goes_back_when_the_worker_is_settled(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], DONE), places=1)

    flow.settlement().settle(worker.worker_id, running=(), reason="killed")

    assert flow.states(row.task_uuid)["second"] == "enqueued"
    assert Worker(flow).run() == 2
    assert flow.task(row.task_uuid)["status"] == "complete"
