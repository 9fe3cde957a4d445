"""A step that fails for good blocks what is below it, once, and nothing else (DESIGN 3 rule 13, SPEC 5)."""

from __future__ import annotations

from support.flow import DIAMOND, Flow, Worker, by_name
from support.leases import NEVER, finish


def test_a_step_below_two_failed_parents_is_blocked_and_counted_once(flow: Flow):
    (row,) = flow.create(flow.register({**DIAMOND, "beside": ["top"]}))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0]))
    sides = by_name(worker.claim())

    worker.commit(finish(sides["left"], NEVER))
    assert (flow.task(row.task_uuid)["open_steps"], flow.task(row.task_uuid)["status"]) == (2, "in_progress")
    worker.commit(finish(sides["right"], NEVER))
    assert (flow.task(row.task_uuid)["open_steps"], flow.task(row.task_uuid)["status"]) == (1, "in_progress")
    reply = worker.commit(finish(sides["beside"]))

    assert reply.finished_tasks == {row.task_uuid: "error"}
    task = flow.task(row.task_uuid)
    assert (task["open_steps"], task["failed_steps"], task["status"]) == (0, 2, "error")


def test_a_step_below_two_parents_that_fail_in_one_batch_is_counted_once(flow: Flow):
    (row,) = flow.create(flow.register({**DIAMOND, "beside": ["top"]}))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0]))
    sides = by_name(worker.claim())

    worker.commit(finish(sides["left"], NEVER), finish(sides["right"], NEVER))
    assert flow.task(row.task_uuid)["open_steps"] == 1
    worker.commit(finish(sides["beside"]))
    assert flow.task(row.task_uuid)["status"] == "error"


def test_a_failure_blocks_its_descendants_only_and_other_branches_run_on(flow: Flow):
    graph = {"bad": [], "below": ["bad"], "far_below": ["below"], "good": [], "after_good": ["good"]}
    (row,) = flow.create(flow.register(graph))
    worker = Worker(flow)
    roots = by_name(worker.claim())
    worker.commit(finish(roots["bad"], NEVER), finish(roots["good"]))
    assert flow.task(row.task_uuid)["status"] == "in_progress"
    assert worker.run() == 1

    steps = flow.steps(row.task_uuid)
    assert {name: (step["state"], step["blocked"]) for name, step in steps.items()} == {
        "bad": ("error", False),
        "below": ("pending", True),
        "far_below": ("pending", True),
        "good": ("complete", False),
        "after_good": ("complete", False),
    }
    assert flow.task(row.task_uuid)["status"] == "error"


def test_a_blocked_step_is_not_released_by_its_other_parent(flow: Flow):
    (row,) = flow.create(flow.register(DIAMOND))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0]))
    sides = by_name(worker.claim())

    reply = worker.commit(finish(sides["left"], NEVER), finish(sides["right"]), places=8)

    assert (reply.released, [*reply.steps]) == (0, [])
    assert reply.finished_tasks == {row.task_uuid: "error"}
    assert flow.states(row.task_uuid)["bottom"] == "pending"
