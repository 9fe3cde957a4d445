"""Decisions: which steps exist is settled in the commit of the decision, with all that follows from it."""

from __future__ import annotations

import pytest
from support.dynamic import APPROVAL, APPROVAL_TYPES, chosen
from support.flow import Flow, Worker, by_name
from support.leases import AGAIN, NEVER, event, finish

from tasker_actors.postgres.task_list import TaskFilter, list_tasks
from tasker_actors.postgres.tasks import find_task, read_steps
from tasker_actors.workflow.outcome import StepSuccess

DECISION = {"type": "decision"}
CONVERGENCE = {"type": "deferred_convergence"}
TWO = {"one": [], "two": [], "a": ["one"], "b": ["two"], "end": ["a", "b"]}
TWO_TYPES = {"one": DECISION, "two": DECISION, "end": CONVERGENCE}


def decided(flow: Flow, *names: str, **keys):
    """A task of APPROVAL whose decision has named these steps, and its worker."""
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES, **keys))
    worker = Worker(flow)
    worker.commit(*map(finish, worker.claim()))
    reply = worker.commit(finish(worker.claim()[0], chosen(*names)))
    return row.task_uuid, worker, reply


def open_steps(flow: Flow, task: str) -> tuple[int, int, str]:
    """What the task's row counts."""
    found = flow.task(task)
    return found["open_steps"], found["failed_steps"], found["status"]


def test_a_decision_makes_the_steps_that_it_names_and_the_convergence_waits_for_those(flow: Flow):
    task, worker, reply = decided(flow, "large")

    assert reply.released == 1
    assert flow.states(task) == {"validate": "complete", "route": "complete", "large": "enqueued", "finish": "pending"}
    assert open_steps(flow, task) == (2, 0, "in_progress")
    worker.commit(*map(finish, worker.claim()))
    last = by_name(worker.claim())["finish"]
    assert set(last.dependency_results) == {"validate", "route", "large"}
    assert worker.commit(finish(last)).finished_tasks == {task: "complete"}


def test_a_convergence_waits_for_every_branch_that_was_chosen(flow: Flow):
    _task, worker, reply = decided(flow, "small", "large")
    assert reply.released == 2
    small, large = worker.claim()

    assert worker.commit(finish(small)).released == 0
    assert worker.commit(finish(large)).released == 1


def test_without_branches_the_task_ends_with_its_decision(flow: Flow):
    task, _, reply = decided(flow)

    assert reply.finished_tasks == {task: "complete"}
    assert flow.states(task) == {"validate": "complete", "route": "complete"}
    assert open_steps(flow, task) == (0, 0, "complete")


def test_a_chosen_step_goes_on_in_the_worker_that_decided(flow: Flow):
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES))
    worker = Worker(flow)
    worker.commit(*map(finish, worker.claim()))
    (route,) = worker.claim()

    reply = worker.commit(finish(route, chosen("small")), places=2)

    assert [step.name for step in worker.continued(reply, route)] == ["small"]
    assert flow.states(row.task_uuid)["small"] == "in_progress"


def test_an_omission_releases_a_convergence_that_waited_for_nothing_else(flow: Flow):
    graph = {"route": [], "always": [], "branch": ["route"], "end": ["always", "branch"]}
    (row,) = flow.create(flow.register(graph, steps={"route": DECISION, "end": CONVERGENCE}))
    assert flow.states(row.task_uuid)["end"] == "pending"
    worker = Worker(flow)
    steps = by_name(worker.claim())
    worker.commit(finish(steps["always"]))

    reply = worker.commit(finish(steps["route"], chosen()), places=1)

    (end,) = worker.continued(reply, steps["route"])
    assert (end.name, set(end.dependency_results)) == ("end", {"route", "always"})
    assert worker.commit(finish(end)).finished_tasks == {row.task_uuid: "complete"}


@pytest.mark.parametrize("together", [True, False])
def test_two_decisions_share_a_convergence(flow: Flow, together: bool):
    (row,) = flow.create(flow.register(TWO, steps=TWO_TYPES))
    worker = Worker(flow)
    steps = by_name(worker.claim())
    first, second = finish(steps["one"], chosen("a")), finish(steps["two"], chosen())

    if together:
        worker.commit(first, second)
    else:
        worker.commit(first)
        assert flow.states(row.task_uuid) == {
            "one": "complete",
            "two": "in_progress",
            "a": "enqueued",
            "b": "undecided",
            "end": "pending",
        }
        worker.commit(*map(finish, worker.claim()))
        assert worker.commit(second).released == 1

    worker.run()
    assert flow.states(row.task_uuid) == dict.fromkeys(("one", "two", "a", "end"), "complete")
    assert flow.task(row.task_uuid)["status"] == "complete"


def test_two_decisions_without_branches_leave_no_convergence(flow: Flow):
    (row,) = flow.create(flow.register(TWO, steps=TWO_TYPES))
    worker = Worker(flow)

    reply = worker.commit(*(finish(step, chosen()) for step in worker.claim()))

    assert reply.finished_tasks == {row.task_uuid: "complete"}
    assert set(flow.states(row.task_uuid)) == {"one", "two"}


def test_a_nested_decision_runs_only_in_its_branch(flow: Flow):
    graph = {"outer": [], "inner": ["outer"], "plain": ["outer"], "deep": ["inner"], "end": ["plain", "deep"]}
    registered = flow.register(graph, steps={"outer": DECISION, "inner": DECISION, "end": CONVERGENCE})
    with_inner, without = (row.task_uuid for row in flow.create(registered, 2))
    worker = Worker(flow)
    outer = {step.task.task_uuid: step for step in worker.claim()}

    worker.commit(finish(outer[with_inner], chosen("inner")), finish(outer[without], chosen("plain")))

    assert flow.states(with_inner) == {
        "outer": "complete",
        "inner": "enqueued",
        "deep": "undecided",
        "end": "undecided",
    }
    assert flow.states(without) == {"outer": "complete", "plain": "enqueued", "end": "pending"}
    steps = by_name(worker.claim())
    worker.commit(finish(steps["inner"], chosen("deep")), finish(steps["plain"]))
    worker.run()
    assert flow.states(with_inner) == dict.fromkeys(("outer", "inner", "deep", "end"), "complete")
    assert flow.task(without)["status"] == flow.task(with_inner)["status"] == "complete"


@pytest.mark.parametrize(
    "result", [{"ok": True}, chosen("larg").result, {"decision_point_outcome": {"type": "create_steps"}}]
)
def test_a_decision_that_cannot_be_followed_fails_for_good_and_nothing_else_changes(flow: Flow, result):
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES))
    worker = Worker(flow)
    worker.commit(*map(finish, worker.claim()))

    reply = worker.commit(finish(worker.claim()[0], StepSuccess(result)))

    assert reply.finished_tasks == {row.task_uuid: "error"}
    route = flow.steps(row.task_uuid)["route"]
    assert (route["state"], route["attempts"]) == ("error", 1)
    assert route["error"]["error_type"] == "invalid_decision"
    assert "decision 'route' of template shop/work@1.0.0" in route["error"]["message"]
    assert flow.states(row.task_uuid)["large"] == "undecided"
    assert open_steps(flow, row.task_uuid) == (0, 1, "error")


def test_a_decision_is_tried_again_like_any_step(flow: Flow):
    retry = {"backoff": "none", "max_attempts": 2}
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES, retry=retry))
    worker = Worker(flow)
    worker.commit(*map(finish, worker.claim()))
    worker.commit(finish(worker.claim()[0], AGAIN))
    assert flow.states(row.task_uuid)["small"] == "undecided"

    worker.commit(finish(worker.claim()[0], chosen("small")))

    assert flow.states(row.task_uuid)["small"] == "enqueued"
    assert flow.attempts(row.task_uuid)[1:] == [(2, 1, "waiting_for_retry"), (2, 2, "complete")]


def test_a_decision_whose_worker_was_killed_is_made_once_by_another(flow: Flow):
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES))
    dead, worker = Worker(flow), Worker(flow)
    dead.commit(*map(finish, dead.claim()))
    (route,) = dead.claim()
    flow.settlement().settle(dead.worker_id, running={route.token}, reason="SIGKILL")
    assert flow.states(row.task_uuid)["small"] == "undecided"
    flow.rows("UPDATE tasker.steps SET run_at = now() WHERE state = 'waiting_for_retry' RETURNING 1")

    worker.commit(finish(worker.claim()[0], chosen("small")))

    worker.run()
    assert flow.states(row.task_uuid) == dict.fromkeys(("validate", "route", "small", "finish"), "complete")


def test_a_decision_that_is_committed_twice_because_the_reply_was_lost_is_made_once(flow: Flow):
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES))
    worker = Worker(flow)
    worker.commit(*map(finish, worker.claim()))
    batch = worker.batch(finish(worker.claim()[0], chosen("small")))

    first = worker.committer.commit(batch)
    again = worker.committer.commit(batch)

    assert (again.won, again.released) == (first.won, first.released)
    assert open_steps(flow, row.task_uuid) == (2, 0, "in_progress")


def test_a_result_whose_lease_has_gone_decides_nothing(flow: Flow):
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES))
    worker = Worker(flow)
    worker.commit(*map(finish, worker.claim()))
    (route,) = worker.claim()
    flow.rows("UPDATE tasker.steps SET token = token + 1000 WHERE token = %s RETURNING 1", route.token)

    assert worker.commit(finish(route, chosen("small"))).won == frozenset()

    assert flow.states(row.task_uuid)["large"] == "undecided"


def test_a_cancel_leaves_nothing_of_what_was_open(flow: Flow):
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES))

    assert flow.cancel(row.task_uuid).cancelled

    assert flow.states(row.task_uuid) == {"validate": "cancelled", "route": "cancelled"}


FAILING = {"fails": [], "route": [], "mixed": ["fails", "route"], "other": ["route"], "end": ["mixed", "other"]}
FAILING_TYPES = {"route": DECISION, "end": CONVERGENCE}


@pytest.mark.parametrize("failure_first", [True, False])
def test_a_failure_blocks_only_by_the_steps_that_exist(flow: Flow, failure_first: bool):
    """`end` waits for `mixed`, which is below the failed step, until the decision leaves `mixed` out."""
    (row,) = flow.create(flow.register(FAILING, steps=FAILING_TYPES))
    worker = Worker(flow)
    steps = by_name(worker.claim())
    failure, decision = finish(steps["fails"], NEVER), finish(steps["route"], chosen("other"))

    if failure_first:
        worker.commit(failure)
        assert {name for name, step in flow.steps(row.task_uuid).items() if step["blocked"]} == {"mixed", "end"}
        assert open_steps(flow, row.task_uuid) == (2, 1, "in_progress")
        worker.commit(decision)
    else:
        worker.commit(decision)
        worker.commit(failure)

    assert not any(step["blocked"] for step in flow.steps(row.task_uuid).values())
    assert open_steps(flow, row.task_uuid) == (2, 1, "in_progress")
    worker.run()
    assert flow.states(row.task_uuid) == {"fails": "error", "route": "complete", "other": "complete", "end": "complete"}
    assert open_steps(flow, row.task_uuid) == (0, 1, "error")


def test_a_failed_branch_blocks_the_convergence(flow: Flow):
    task, worker, _ = decided(flow, "small", "large")
    steps = by_name(worker.claim())

    worker.commit(finish(steps["small"], NEVER))
    reply = worker.commit(finish(steps["large"]))

    assert reply.finished_tasks == {task: "error"}
    assert flow.steps(task)["finish"]["blocked"]


def test_nobody_is_shown_what_may_not_exist(flow: Flow):
    (row,) = flow.create(flow.register(APPROVAL, steps=APPROVAL_TYPES))

    found, listed = find_task(flow.pool, row.task_uuid), list_tasks(flow.pool, TaskFilter(), 10).tasks[0]
    steps = read_steps(flow.pool, row.task_uuid)

    assert found is not None
    assert steps is not None
    assert found.summary.total_steps == listed.summary.total_steps == 2
    assert "undecided" not in found.columns["steps"]
    assert [step["name"] for step in steps] == ["validate", "route"]


def test_a_convergence_shows_the_dependencies_that_exist(flow: Flow):
    task, _, _ = decided(flow, "large")

    steps = read_steps(flow.pool, task) or []

    assert {step["name"]: step["dependencies"] for step in steps}["finish"] == ["large"]


def test_events_of_a_decision_go_out_with_it(flow: Flow):
    _task, _, _ = decided(flow, "large", publishes_events=[event("route.chosen", condition="success")])

    assert [row["message"]["metadata"]["step_name"] for row in flow.queue()] == ["validate", "route"]


def test_a_template_that_an_earlier_release_registered_gets_what_it_lacks(flow: Flow):
    flow.register(APPROVAL, steps=APPROVAL_TYPES)
    flow.rows("UPDATE tasker.template_steps SET kind = 'standard', conditional = false, gathers = NULL RETURNING 1")

    flow.register(APPROVAL, steps=APPROVAL_TYPES)

    kinds = flow.rows(
        "SELECT name, kind, conditional FROM tasker.template_steps WHERE kind <> 'standard' ORDER BY name"
    )
    assert [tuple(row.values()) for row in kinds] == [
        ("finish", "deferred_convergence", True),
        ("route", "decision", False),
    ]
