"""What people do to steps: all that follows from it, or a refusal that changes nothing."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest
from support.api_runtime import in_threads
from support.dynamic import APPROVAL, APPROVAL_TYPES, CSV, csv_types, divided
from support.flow import CHAIN, DIAMOND, Flow, Worker, by_name
from support.leases import AGAIN, DONE, NEVER, event, finish

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres import step_control
from tasker_actors.postgres.step_control import Decision, FailedTasks, Resolution
from tasker_actors.steps.completion import completed_by_hand
from tasker_actors.workflow.dynamic_limits import DynamicLimits

RESET, RESOLVE, COMPLETE = "reset_for_retry", "resolve_manually", "complete_manually"
FORK = {"left": [], "right": [], "below_left": ["left"], "below_both": ["left", "right"]}


def act(flow: Flow, task_uuid: str, name: str, action: str, result: Any = None, **changes: Any) -> Resolution:
    """Do something to the step of this name."""
    step_uuid = str(flow.steps(task_uuid)[name]["step_uuid"])
    data = None if result is None else orjson.dumps(result)
    decision = Decision(action, "ann", "because", result=data, result_bytes=len(data or b""), **changes)
    resolution = step_control.resolve_step(flow.pool, task_uuid, step_uuid, decision)
    assert resolution is not None
    return resolution


def stored(flow: Flow, task_uuid: str) -> tuple[Any, ...]:
    """All that is stored of a task, and what was written down about it."""
    return flow.task(task_uuid), flow.steps(task_uuid), flow.rows("SELECT * FROM tasker.step_audits")


def audits(flow: Flow, task_uuid: str, name: str) -> list[dict[str, Any]]:
    return step_control.read_audits(flow.pool, task_uuid, str(flow.steps(task_uuid)[name]["step_uuid"]))


def failed(flow: Flow, graph: Any, *names: str, **keys: Any) -> tuple[str, Worker]:
    """Create a task in which these steps have failed for good, and everything else that can run is done."""
    (row,) = flow.create(flow.register(graph, **keys))
    worker = Worker(flow)
    while steps := worker.claim():
        worker.commit(*(finish(step, NEVER if step.name in names else DONE) for step in steps))
    return row.task_uuid, worker


def test_a_reset_step_runs_again_with_all_its_attempts_and_the_task_goes_on(flow: Flow):
    task, worker = failed(flow, DIAMOND, "left")
    assert (flow.task(task)["status"], flow.steps(task)["bottom"]["blocked"]) == ("error", True)

    done = act(flow, task, "left", RESET)

    assert (done.refused, done.details["from"], done.details["to"], done.released) == (None, "error", "enqueued", 1)
    row = flow.task(task)
    assert (row["status"], row["open_steps"], row["failed_steps"], row["completed_at"]) == ("in_progress", 2, 0, None)
    assert flow.steps(task)["left"]["attempts"] == 0
    assert flow.steps(task)["bottom"]["blocked"] is False
    (step,) = worker.claim()
    assert (step.name, step.attempt) == ("left", 1)
    worker.commit(finish(step))
    assert worker.run() == 1
    assert flow.task(task)["status"] == "complete"


def test_a_step_that_waits_for_its_retry_runs_at_once_with_all_its_attempts(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], AGAIN))
    assert worker.claim() == []

    assert act(flow, row.task_uuid, "first", RESET).details["from"] == "waiting_for_retry"

    assert [step.attempt for step in worker.claim()] == [1]
    assert flow.task(row.task_uuid)["open_steps"] == 3


def test_a_resolved_step_counts_as_done_and_keeps_why_it_failed(flow: Flow):
    task, worker = failed(flow, CHAIN, "first")

    assert act(flow, task, "first", RESOLVE).released == 1

    step = flow.steps(task)["first"]
    assert (step["state"], step["result"], step["error"]["message"]) == ("resolved_manually", None, "no")
    (below,) = worker.claim()
    assert below.dependency_results == {"first": None}
    worker.commit(finish(below))
    worker.run()
    assert flow.task(task)["status"] == "complete"


def test_a_completed_step_gives_its_result_to_its_successors_and_no_attempt_or_event(flow: Flow):
    task, worker = failed(flow, CHAIN, "first", publishes_events=[event(condition="success")])
    before = flow.attempts(task)

    assert act(flow, task, "first", COMPLETE, {"score": 95}).details["to"] == "complete"

    step = flow.steps(task)["first"]
    assert (step["state"], step["result"], step["error"], step["token"]) == ("complete", {"score": 95}, None, None)
    assert (flow.attempts(task), flow.queue()) == (before, [])
    (below,) = worker.claim()
    assert below.dependency_results == {"first": {"score": 95}}


@pytest.mark.parametrize("action", [RESOLVE, COMPLETE])
def test_what_waits_in_the_queue_can_be_passed_over(flow: Flow, action):
    (row,) = flow.create(flow.register(CHAIN))

    assert act(flow, row.task_uuid, "first", action, {"n": 1}).details["from"] == "enqueued"

    assert [step.name for step in Worker(flow).claim()] == ["second"]
    assert flow.task(row.task_uuid)["status"] == "in_progress"


def test_the_last_step_finishes_its_task(flow: Flow):
    task, _ = failed(flow, CHAIN, "third")

    assert act(flow, task, "third", RESOLVE).finished == "complete"

    row = flow.task(task)
    assert (row["status"], row["open_steps"], row["failed_steps"]) == ("complete", 0, 0)
    assert row["completed_at"] is not None


def test_only_what_no_other_failure_blocks_is_released(flow: Flow):
    task, worker = failed(flow, FORK, "left", "right")

    act(flow, task, "left", RESOLVE)

    steps = flow.steps(task)
    assert (steps["below_left"]["state"], steps["below_both"]["blocked"]) == ("enqueued", True)
    row = flow.task(task)
    assert (row["status"], row["open_steps"], row["failed_steps"]) == ("in_progress", 1, 1)
    worker.run()
    assert flow.task(task)["status"] == "error"
    act(flow, task, "right", RESET)
    worker.run()
    assert flow.task(task)["status"] == "complete"


def test_who_did_what_and_why_is_kept_beside_the_attempts(flow: Flow):
    task, _ = failed(flow, CHAIN, "first")
    act(flow, task, "first", RESET)
    act(flow, task, "first", COMPLETE, {"n": 1}, metadata=b'{"ticket": 7}')

    attempt, reset, completed = audits(flow, task, "first")

    assert (attempt["to_state"], attempt["success"], attempt["performed_by"]) == ("error", False, None)
    assert (reset["action"], reset["from_state"], reset["to_state"], reset["success"]) == (
        "reset_for_retry", "error", "enqueued", False,
    )  # fmt: skip
    assert (completed["performed_by"], completed["reason"], completed["success"]) == ("ann", "because", True)
    assert (orjson.loads(completed["result"]), orjson.loads(completed["metadata"])) == ({"n": 1}, {"ticket": 7})


@pytest.mark.parametrize("action", [RESET, RESOLVE, COMPLETE])
@pytest.mark.parametrize(
    ("name", "refused"),
    [("done", "step_finished"), ("running", "step_running"), ("below", "step_waits"), ("blocked", "step_waits")],
)
def test_what_cannot_be_done_is_refused_and_nothing_changes(flow: Flow, action, name, refused):
    graph = {"done": [], "broken": [], "running": [], "below": ["running"], "blocked": ["broken"]}
    (row,) = flow.create(flow.register(graph))
    worker = Worker(flow)
    steps = by_name(worker.claim())
    worker.commit(finish(steps["done"]), finish(steps["broken"], NEVER))
    before = stored(flow, row.task_uuid)

    refusal = act(flow, row.task_uuid, name, action, {"n": 1})

    assert refusal.refused == refused
    assert refusal.details.get("for", []) == {"below": ["running"], "blocked": ["broken"]}.get(name, [])
    assert stored(flow, row.task_uuid) == before


def test_a_step_of_a_finished_task_is_refused(flow: Flow):
    task, _ = failed(flow, FORK, "left")
    flow.rows("UPDATE tasker.tasks SET status = 'cancelled' RETURNING 1")
    before = stored(flow, task)

    assert act(flow, task, "left", RESET).refused == "task_finished"
    assert stored(flow, task) == before


def test_a_step_that_waits_to_run_has_nothing_to_reset(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    assert act(flow, row.task_uuid, "first", RESET).refused == "step_enqueued"


def test_unknown_things_are_refused(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    decision = Decision(RESET, "ann", "because")
    assert step_control.resolve_step(flow.pool, new_uuid7(), new_uuid7(), decision) is None
    found = step_control.resolve_step(flow.pool, row.task_uuid, new_uuid7(), decision)
    assert found is not None
    assert found.refused == "unknown_step"
    assert step_control.find_step(flow.pool, row.task_uuid, new_uuid7()) is None


# Steps that decide about others


def by_hand(flow: Flow, task_uuid: str, name: str, result: Any) -> dict[str, Any]:
    """What a result given by hand means for other steps."""
    found = step_control.find_step(flow.pool, task_uuid, str(flow.steps(task_uuid)[name]["step_uuid"]))
    assert found is not None
    template = step_control.read_template(flow.pool, found.template_id)
    data = None if result is None else orjson.dumps(result)
    return completed_by_hand(template, found.name, data, DynamicLimits())


def test_a_decision_completed_by_hand_chooses_as_its_handler_would(flow: Flow):
    task, worker = failed(flow, APPROVAL, "route", steps=APPROVAL_TYPES)
    result = {"decision_point_outcome": {"type": "create_steps", "step_names": ["large"]}}

    act(flow, task, "route", COMPLETE, result, dynamic=by_hand(flow, task, "route", result))

    assert flow.states(task) == {"validate": "complete", "route": "complete", "large": "enqueued", "finish": "pending"}
    worker.run()
    assert flow.task(task)["status"] == "complete"


def test_a_resolved_decision_chooses_nothing(flow: Flow):
    task, _ = failed(flow, APPROVAL, "route", steps=APPROVAL_TYPES)

    done = act(flow, task, "route", RESOLVE, dynamic=by_hand(flow, task, "route", None))

    assert flow.states(task) == {"validate": "complete", "route": "resolved_manually"}
    assert (done.finished, flow.task(task)["open_steps"]) == ("complete", 0)


def test_a_batchable_step_completed_by_hand_makes_its_instances(flow: Flow):
    task, worker = failed(flow, CSV, "analyze", steps=csv_types())
    result = divided(2).result

    done = act(flow, task, "analyze", COMPLETE, result, dynamic=by_hand(flow, task, "analyze", result))

    assert done.released == 2
    assert sorted(flow.states(task)) == ["analyze", "sum", "work_001", "work_002"]
    worker.run()
    assert flow.task(task)["status"] == "complete"


def test_a_failed_instance_that_is_isolated_blocks_until_it_is_resolved(flow: Flow):
    (row,) = flow.create(flow.register(CSV, steps=csv_types("isolate")))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(2)))
    steps = {step.name: step for step in worker.claim()}
    worker.commit(finish(steps["work_001"], NEVER), finish(steps["work_002"]))
    assert flow.task(row.task_uuid)["status"] == "error"

    act(flow, row.task_uuid, "work_001", COMPLETE, {"n": 0})

    (last,) = worker.claim()
    assert (last.name, last.dependency_results["work_001"]) == ("sum", {"n": 0})
    worker.commit(finish(last))
    assert flow.task(row.task_uuid)["status"] == "complete"


@pytest.mark.parametrize("action", [RESET, RESOLVE])
def test_the_failure_that_cancelled_a_batch_brings_back_the_others_when_it_is_dealt_with(flow: Flow, action):
    (row,) = flow.create(flow.register(CSV, steps=csv_types("fail_fast")))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(3)))
    steps = {step.name: step for step in worker.claim(limit=2)}
    worker.commit(finish(steps["work_001"], NEVER))
    assert flow.task(row.task_uuid)["status"] == "error"
    assert flow.states(row.task_uuid)["work_003"] == "cancelled"

    act(flow, row.task_uuid, "work_001", action)

    assert flow.states(row.task_uuid)["work_003"] == "enqueued"
    worker.run()
    assert flow.task(row.task_uuid)["status"] == "complete"
    assert set(flow.states(row.task_uuid).values()) <= {"complete", "resolved_manually"}


def test_a_failure_that_its_batch_tolerates_cannot_be_undone(flow: Flow):
    (row,) = flow.create(flow.register(CSV, steps=csv_types()))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(2)))
    steps = {step.name: step for step in worker.claim()}
    worker.commit(finish(steps["work_001"], NEVER))
    before = stored(flow, row.task_uuid)

    assert act(flow, row.task_uuid, "work_001", RESET).refused == "failure_tolerated"
    assert stored(flow, row.task_uuid) == before


# Races


def test_two_people_decide_once(flow: Flow):
    task, _ = failed(flow, CHAIN, "first")

    answers = in_threads(lambda _: act(flow, task, "first", COMPLETE, {"n": 1}), 4)

    assert sorted(str(answer.refused) for answer in answers) == ["None", *["step_finished"] * 3]
    assert len(flow.rows("SELECT * FROM tasker.step_audits")) == 1
    assert flow.task(task)["open_steps"] == 2


def test_a_claim_that_is_on_its_way_comes_first(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    found: list[Resolution] = []
    claim = "SELECT tasker.claim_steps_v1(%s, %s, 1, 30000, 1000000)"
    with flow.in_flight(claim, worker.worker_id, ["shop"]):
        thread = threading.Thread(target=lambda: found.append(act(flow, row.task_uuid, "first", RESOLVE)))
        thread.start()
        flow.wait_until_blocked()
    thread.join()
    assert found[0].refused == "step_running"


def test_a_late_result_finds_the_step_taken(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    (step,) = worker.claim()
    flow.rows("UPDATE tasker.steps SET run_at = now() - interval '1 s' WHERE state = 'in_progress' RETURNING 1")
    flow.rows("SELECT tasker.expire_leases_v1(0)")
    act(flow, row.task_uuid, "first", COMPLETE, {"by": "hand"})
    before = flow.steps(row.task_uuid)["first"]

    assert worker.commit(finish(step)).won == frozenset()
    assert flow.steps(row.task_uuid)["first"] == before


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_cancel_at_the_same_time_leaves_the_task_cancelled(flow: Flow, cancel_first):
    (row,) = flow.create(flow.register(FORK))
    worker = Worker(flow)
    steps = by_name(worker.claim())
    worker.commit(finish(steps["left"], NEVER))
    task = row.task_uuid
    first, second = (flow.cancel, lambda task: act(flow, task, "left", RESET))
    if not cancel_first:
        first, second = second, first
    lock = "SELECT 1 FROM tasker.tasks WHERE task_uuid = %s FOR NO KEY UPDATE"
    threads = [threading.Thread(target=one, args=[task]) for one in (first, second)]
    with flow.in_flight(lock, task):
        threads[0].start()
        flow.wait_until_blocked()
        threads[1].start()
        flow.wait_until_blocked(2)
    for thread in threads:
        thread.join()
    found = flow.task(task)
    assert (found["status"], found["open_steps"]) == ("cancelled", 0)
    assert flow.states(task)["left"] == ("error" if cancel_first else "cancelled")
    assert worker.claim() == []


# Whole tasks


def test_a_task_is_reset_with_all_its_failed_steps(flow: Flow):
    task, worker = failed(flow, FORK, "left", "right")

    done = step_control.reset_task(flow.pool, task, by="ann", reason="fixed")

    assert done == step_control.TaskReset("error", 2)
    assert worker.run() == 4
    assert flow.task(task)["status"] == "complete"
    assert step_control.reset_task(flow.pool, task, by="ann", reason="fixed") == step_control.TaskReset("complete", 0)
    assert step_control.reset_task(flow.pool, new_uuid7(), by="ann", reason="fixed") is None


def test_failed_tasks_are_found_by_what_they_are(flow: Flow):
    ours, _ = failed(flow, CHAIN, "second")
    others, _ = failed(flow, CHAIN, "second", name="other")
    failed(flow, CHAIN, name="fine")
    (started,) = flow.rows("SELECT now() + interval '1 hour' AS later, now() - interval '1 hour' AS earlier")

    def found(**wanted: Any) -> list[str]:
        return step_control.find_failed_tasks(flow.pool, FailedTasks(**wanted), 10)

    assert found() == [ours, others]
    assert found(namespace="shop", name="other") == [others]
    assert found(error_type="permanent_error") == [ours, others]
    assert found(error_type="timeout") == []
    assert found(failed_before=started["earlier"]) == found(failed_after=started["later"]) == []
    assert found(after=ours) == [others]
