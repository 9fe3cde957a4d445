"""Tasks that steps start: with the commit of their attempt, and waited for without a lease, however they end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.ageing import age
from support.dynamic import CSV, csv_types, divided, slice_done
from support.flow import Flow, Worker, by_name
from support.leases import AGAIN, DONE, NEVER, finish
from support.sub_workflows import CHILD, PARENT, Family, started, starter_of, told, waits

from tasker_actors.postgres.session import session
from tasker_actors.postgres.step_control import Decision, resolve_step
from tasker_actors.postgres.sub_workflows import cancel_abandoned
from tasker_actors.postgres.task_dead_letters import enter_stale_task, stale_tasks, staleness_limits
from tasker_actors.settings.dlq import DlqSettings
from tasker_actors.workflow.outcome import StepSuccess
from tasker_actors.workflow.step_action import StepAction

LIMITS = staleness_limits(DlqSettings())


def test_a_task_is_created_with_the_result_of_the_step_that_started_it(flow: Flow):
    child = flow.register(CHILD, name="child")
    (row,) = flow.create(flow.register(PARENT, name="parent"), priority=7)
    worker = Worker(flow)
    (step,) = worker.claim()
    starter = starter_of(step, child)
    made = starter.start("shop/child", {"n": 1}, priority=None, tags=["urgent"], idempotency_key="one")

    reply = worker.commit(finish(step, started=starter.started))

    stored = flow.task(made.task_uuid)
    assert reply.released >= 2
    assert {key: stored[key] for key in ("namespace", "name", "version", "status", "context", "priority", "tags")} == {
        "namespace": "shop",
        "name": "child",
        "version": "1.0.0",
        "status": "pending",
        "context": {"n": 1},
        "priority": 7,
        "tags": ["urgent"],
    }
    assert (str(stored["parent_task_uuid"]), stored["depth"]) == (row.task_uuid, 1)
    assert str(stored["parent_correlation_id"]) == row.correlation_id
    assert str(stored["correlation_id"]) not in (row.correlation_id, made.task_uuid)
    assert stored["traceparent"].split("-")[1] == step.trace.trace_id
    assert stored["traceparent"].split("-")[2] != step.trace.span_id
    assert flow.states(row.task_uuid) == {"call": "complete", "after": "enqueued"}
    assert flow.states(made.task_uuid) == {"first": "enqueued", "last": "pending"}


@pytest.mark.parametrize("ends", ["fails", "loses its lease"])
def test_an_attempt_without_a_success_that_is_stored_creates_nothing(flow: Flow, ends: str):
    child = flow.register(CHILD, name="child")
    lost, kept = flow.create(flow.register(PARENT, name="parent"), 2)
    worker = Worker(flow)
    starters = {step.task.task_uuid: (step, starter_of(step, child)) for step in worker.claim()}
    for _, starter in starters.values():
        starter.start("shop/child", {}, priority=None, tags=(), idempotency_key=None)
    if ends == "loses its lease":
        flow.cancel(lost.task_uuid)

    worker.commit(
        *(
            finish(step, AGAIN if ends == "fails" and uuid == lost.task_uuid else DONE, started=starter.started)
            for uuid, (step, starter) in starters.items()
        )
    )

    created = flow.rows("SELECT parent_task_uuid::text FROM tasker.tasks WHERE name = 'child'")
    assert created == [{"parent_task_uuid": kept.task_uuid}]


def test_a_commit_whose_answer_is_lost_creates_its_tasks_once(flow: Flow):
    child = flow.register(CHILD, name="child")
    flow.create(flow.register(PARENT, name="parent"))
    worker = Worker(flow)
    finished, _ = started(worker.claim()[0], child)
    batch = worker.batch(finished)

    assert worker.committer.commit(batch).won == worker.committer.commit(batch).won

    assert len(flow.rows("SELECT FROM tasker.tasks WHERE name = 'child'")) == 1


def test_a_step_waits_without_a_lease_and_goes_on_with_what_became_of_its_task(flow: Flow):
    family = Family(flow)
    assert (family.call["state"], family.call["token"], family.call["attempts"]) == ("pending", None, 0)
    assert flow.task(family.row.task_uuid)["status"] == "in_progress"

    (first,) = family.worker.claim()
    assert first.name == "first"
    (last,) = family.worker.continued(family.worker.commit(finish(first), places=1), first)
    assert family.call["state"] == "pending"
    reply = family.worker.commit(finish(last, StepSuccess({"made": "it"})))

    assert reply.finished_tasks == {family.children[0].task_uuid: "complete"}
    assert reply.released == 1
    (again,) = family.worker.claim()
    assert (again.name, again.attempt, again.step_uuid) == ("call", 1, family.step.step_uuid)
    assert again.dependency_bytes > 0
    (child,) = again.children
    assert {key: child[key] for key in ("task_uuid", "namespace", "name", "version", "status", "error")} == {
        "task_uuid": family.children[0].task_uuid,
        "namespace": "shop",
        "name": "child",
        "version": "1.0.0",
        "status": "complete",
        "error": None,
    }
    assert child["results"] == {"last": {"made": "it"}}
    family.worker.commit(finish(again))
    assert family.worker.run() == 1
    assert flow.task(family.row.task_uuid)["status"] == "complete"
    assert flow.attempts(family.row.task_uuid) == [(1, 1, "complete"), (2, 1, "complete")]


def test_a_step_goes_on_when_the_last_of_its_tasks_is_over_and_sees_them_in_its_order(flow: Flow):
    family = Family(flow, 3)
    steps = {step.task.task_uuid: step for step in family.worker.claim()}
    order = [child.task_uuid for child in family.children]

    family.worker.commit(finish(steps[order[2]], NEVER))
    family.worker.commit(finish(steps[order[0]], NEVER))
    assert family.call["state"] == "pending"
    flow.cancel(order[1])

    assert family.call["state"] == "enqueued"
    assert [child["task_uuid"] for child in family.call["children"]] == order
    assert told(family.call) == [("error", {}), ("cancelled", {}), ("error", {})]
    assert family.call["children"][0]["error"] == {
        "step_name": "first",
        "error_type": "permanent_error",
        "message": "no",
    }


@pytest.mark.parametrize("way", ["complete", "failed", "cancelled", "by hand", "its worker died", "stood still"])
def test_however_a_task_ends_the_step_that_waits_for_it_goes_on(flow: Flow, way: str):
    family = Family(flow, child={"only": []})
    other = Worker(flow)
    (only,) = other.claim()
    match way:
        case "complete":
            other.commit(finish(only))
        case "failed":
            other.commit(finish(only, NEVER))
        case "cancelled":
            flow.cancel(only.task.task_uuid)
        case "by hand":
            other.commit(finish(only, AGAIN))
            control(flow, only.task.task_uuid, only.step_uuid, StepAction.COMPLETE_MANUALLY, b"{}")
        case "its worker died":
            flow.rows("UPDATE tasker.steps SET attempts = 2 WHERE state = 'in_progress' RETURNING 1")
            flow.settlement().settle(other.worker_id, running={only.token}, reason="SIGKILL")
        case _:
            stand_still(flow, only.task.task_uuid)

    assert family.call["state"] == "enqueued"
    expected = {"complete": "complete", "by hand": "complete", "cancelled": "cancelled"}.get(way, "error")
    assert [status for status, _ in told(family.call)] == [expected]


def test_a_wait_for_tasks_that_are_over_already_ends_at_once(flow: Flow):
    child = flow.register(CHILD, name="child")
    flow.create(flow.register(PARENT, name="parent"))
    worker = Worker(flow)
    (step,) = worker.claim()
    starter = starter_of(step, child)
    made = starter.start("shop/child", {}, priority=None, tags=(), idempotency_key=None)
    reply = worker.commit(finish(step, slice_done(1), started=starter.started), places=1)
    (again,) = worker.continued(reply, step)
    worker.run()
    assert flow.task(made.task_uuid)["status"] == "complete"

    reply = worker.commit(finish(again, waits(made, checkpoint={"cursor": 9})), places=1)

    (woken,) = worker.continued(reply, again)
    assert [child["status"] for child in woken.children] == ["complete"]
    assert woken.checkpoint is not None
    assert (woken.checkpoint["cursor"], woken.attempt) == (9, 1)


def test_a_retry_after_the_wait_sees_the_same_tasks_and_a_second_wait_others(flow: Flow):
    family = Family(flow)
    other = flow.register(CHILD, name="other")
    family.worker.commit(finish(family.worker.claim()[0], NEVER))
    family.worker.commit(finish(family.worker.claim()[0], AGAIN))
    flow.rows("UPDATE tasker.steps SET run_at = now() WHERE state = 'waiting_for_retry' RETURNING 1")

    (step,) = family.worker.claim()
    assert (step.attempt, [child["status"] for child in step.children]) == (2, ["error"])
    finished, _ = started(step, other)
    family.worker.commit(finished)

    assert (family.call["state"], family.call["children"]) == ("pending", None)
    family.worker.commit(*(finish(one, NEVER) for one in family.worker.claim()))
    assert [child["name"] for child in family.call["children"]] == ["other"]


def test_results_above_256_kib_are_left_out_from_where_there_is_no_room(flow: Flow):
    family = Family(flow, 3, child={"only": []})
    steps = {step.task.task_uuid: step for step in family.worker.claim()}
    sizes = [100_000, 200_000, 10]
    for child, size in zip(family.children, sizes, strict=True):
        family.worker.commit(finish(steps[child.task_uuid], StepSuccess({"x": "y" * size})))

    assert [child["results"] is None for child in family.call["children"]] == [False, True, True]


def test_results_are_those_of_the_last_steps_that_exist(flow: Flow):
    batch = flow.register(CSV, name="batch", steps=csv_types())
    flow.create(flow.register(PARENT, name="parent"))
    worker = Worker(flow)
    (step,) = worker.claim()
    finished, (made,) = started(step, batch)
    worker.commit(finished)
    worker.commit(finish(worker.claim()[0], divided(2)))
    worker.commit(*(finish(one) for one in worker.claim()))
    worker.commit(finish(worker.claim()[0], StepSuccess({"sum": 2})))

    (again,) = worker.claim()
    assert again.children[0]["results"] == {"sum": {"sum": 2}}
    assert set(flow.states(made.task_uuid)) == {"analyze", "work_001", "work_002", "sum"}


def test_a_task_ends_while_its_step_begins_to_wait_for_it(flow: Flow):
    """The wait is held up by the end of the task, and sees it."""
    worker, step, again, made = slice_with_task(flow)
    other = Worker(flow)
    (only,) = [one for one in other.claim() if one.task.task_uuid == made.task_uuid]
    waiting = threading.Thread(target=worker.commit, args=(finish(again, waits(made)),))

    with flow.in_flight("SELECT tasker.commit_batch_v1(%s::jsonb)", other.batch(finish(only)).decode()):
        waiting.start()
        flow.wait_until_blocked()
    waiting.join()

    call = flow.steps(step.task.task_uuid)["call"]
    assert (call["state"], told(call)) == ("enqueued", [("complete", {"only": {"ok": True}})])


def test_a_step_begins_to_wait_for_a_task_while_that_ends(flow: Flow):
    """The end of the task is held up by the wait, and wakes its step."""
    worker, step, again, made = slice_with_task(flow)
    other = Worker(flow)
    (only,) = [one for one in other.claim() if one.task.task_uuid == made.task_uuid]
    ending = threading.Thread(target=other.commit, args=(finish(only),))

    statement = "SELECT tasker.commit_batch_v1(%s::jsonb)"
    with flow.in_flight(statement, worker.batch(finish(again, waits(made))).decode()):
        ending.start()
        flow.wait_until_blocked()
    ending.join()

    call = flow.steps(step.task.task_uuid)["call"]
    assert (call["state"], told(call)) == ("enqueued", [("complete", {"only": {"ok": True}})])


def test_of_two_last_tasks_that_end_at_once_one_wakes_the_step(flow: Flow):
    family = Family(flow, 2, child={"only": []})
    one, two = Worker(flow), Worker(flow)
    (first,), (second,) = one.claim(1), two.claim(1)
    ending = threading.Thread(target=two.commit, args=(finish(second),))

    with flow.in_flight("SELECT tasker.commit_batch_v1(%s::jsonb)", one.batch(finish(first)).decode()) as connection:
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        ending.start()
        flow.wait_until_blocked()
        assert family.call["state"] == "pending"
    ending.join()

    assert family.call["state"] == "enqueued"


def test_waiting_steps_are_locked_in_the_order_of_their_keys_however_their_tasks_end(flow: Flow):
    child = flow.register({"only": []}, name="child")
    rows = flow.create(flow.register(PARENT, name="parent"), 8)
    worker = Worker(flow)
    worker.commit(*(started(step, child)[0] for step in worker.claim()))
    first, *others = sorted(row.task_uuid for row in rows)
    results = [finish(step) for step in reversed(worker.claim())]
    ending = threading.Thread(target=worker.commit, args=tuple(results))

    with flow.in_flight("SELECT FROM tasker.steps WHERE task_uuid = %s AND name = 'call' FOR UPDATE", first):
        ending.start()
        flow.wait_until_blocked()
        free = "SELECT FROM tasker.steps WHERE task_uuid = ANY (%s) AND name = 'call' FOR UPDATE SKIP LOCKED"
        assert len(flow.rows(free, others)) == len(others)
    ending.join()

    assert {flow.steps(row.task_uuid)["call"]["state"] for row in rows} == {"enqueued"}


def test_batches_that_end_tasks_of_the_same_steps_do_not_deadlock(flow: Flow):
    child = flow.register({"only": []}, name="child")
    parent = flow.register(PARENT, name="parent")
    rows = flow.create(parent, 30)
    worker = Worker(flow)
    steps = worker.claim()
    made = [started(step, child, 4) for step in steps]
    worker.commit(*(finished for finished, _ in made))
    workers = [Worker(flow) for _ in range(4)]

    def end_all(one: Worker) -> None:
        while claimed := one.claim(12):
            one.commit(*(finish(step) for step in claimed if step.name == "only"))

    threads = [threading.Thread(target=end_all, args=(one,)) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [error.sqlstate for one in workers for error in one.commits.errors] == []
    assert {flow.steps(row.task_uuid)["call"]["children"] is not None for row in rows} == {True}


def test_who_cancels_a_task_cancels_those_that_its_steps_wait_for_and_theirs(flow: Flow):
    family = Family(flow, 2)
    (inner, outer) = (step for step in family.worker.claim() if step.name == "first")
    starter = starter_of(outer, family.child)
    left_alone = starter.start("shop/child", {}, priority=None, tags=(), idempotency_key=None)
    finished, (grandchild,) = started(inner, family.child)
    family.worker.commit(finished, finish(outer, slice_done(1), started=starter.started))
    held = {step.task.task_uuid: step for step in Worker(flow).claim()}
    flow.cancel(family.row.task_uuid)

    ended = list(cancel_abandoned(flow.pool))

    assert family.statuses() == ["cancelled", "cancelled"]
    assert flow.task(grandchild.task_uuid)["status"] == "cancelled"
    assert flow.task(left_alone.task_uuid)["status"] == "pending"
    assert {each.task_uuid for each in ended} == {grandchild.task_uuid, *(c.task_uuid for c in family.children)}
    told_of = {lease.token for each in ended for lease in each.leases}
    assert held[grandchild.task_uuid].token in told_of
    assert list(cancel_abandoned(flow.pool)) == []
    assert family.call["wait_token"] is None


def test_a_batch_that_fails_fast_cancels_the_tasks_that_its_instances_wait_for(flow: Flow):
    child = flow.register(CHILD, name="child")
    flow.create(flow.register(CSV, steps=csv_types("fail_fast")))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(2)))
    first, second = worker.claim()
    finished, (made,) = started(first, child)
    worker.commit(finished)
    worker.commit(finish(second, NEVER))

    assert [each.task_uuid for each in cancel_abandoned(flow.pool)] == [made.task_uuid]


def test_two_steps_that_wait_for_one_task_keep_it_while_one_of_them_does(flow: Flow):
    child = flow.register(CHILD, name="child")
    (row,) = flow.create(flow.register({"one": [], "two": []}))
    worker = Worker(flow)
    steps = by_name(worker.claim())
    finished, (made,) = started(steps["one"], child)
    worker.commit(finished)
    worker.commit(finish(steps["two"], waits(made.task_uuid)))

    control(flow, row.task_uuid, steps["one"].step_uuid, StepAction.RESOLVE_MANUALLY)
    assert list(cancel_abandoned(flow.pool)) == []
    control(flow, row.task_uuid, steps["two"].step_uuid, StepAction.RESOLVE_MANUALLY)

    assert [each.task_uuid for each in cancel_abandoned(flow.pool)] == [made.task_uuid]


@pytest.mark.parametrize("action", [StepAction.COMPLETE_MANUALLY, StepAction.RESOLVE_MANUALLY])
def test_a_waiting_step_can_be_ended_by_hand(flow: Flow, action: StepAction):
    family = Family(flow)

    reply = control(flow, family.row.task_uuid, family.step.step_uuid, action, b"{}")

    assert (reply.refused, reply.released) == (None, 1)
    assert flow.states(family.row.task_uuid)["after"] == "enqueued"
    list(cancel_abandoned(flow.pool))
    assert family.statuses() == ["cancelled"]
    assert family.worker.run() == 1
    assert flow.task(family.row.task_uuid)["status"] == "complete"


def test_a_waiting_step_that_is_reset_begins_anew(flow: Flow):
    family = Family(flow)

    assert control(flow, family.row.task_uuid, family.step.step_uuid, StepAction.RESET_FOR_RETRY).refused is None

    again = by_name(family.worker.claim())["call"]
    assert (again.children, again.attempt) == ((), 1)
    list(cancel_abandoned(flow.pool))
    assert family.statuses() == ["cancelled"]
    finished, (made,) = started(again, family.child)
    family.worker.commit(finished)
    assert family.call["state"] == "pending"
    flow.cancel(made.task_uuid)
    assert family.call["state"] == "enqueued"


def test_a_step_that_failed_with_its_task_begins_anew_and_goes_on_once_the_task_is_mended(flow: Flow):
    family = Family(flow, child={"only": []})
    (only,) = family.worker.claim()
    family.worker.commit(finish(only, NEVER))
    family.worker.commit(finish(family.worker.claim()[0], NEVER))
    assert flow.task(family.row.task_uuid)["status"] == "error"

    control(flow, family.row.task_uuid, family.step.step_uuid, StepAction.RESET_FOR_RETRY)
    (again,) = family.worker.claim()
    assert again.children == ()
    finished, (second,) = started(again, family.child)
    family.worker.commit(finished)
    (only,) = family.worker.claim()
    family.worker.commit(finish(only, NEVER))
    family.worker.commit(finish(family.worker.claim()[0], NEVER))
    control(flow, second.task_uuid, only.step_uuid, StepAction.COMPLETE_MANUALLY, b"{}")
    control(flow, family.row.task_uuid, family.step.step_uuid, StepAction.RESET_FOR_RETRY)

    (again,) = family.worker.claim()
    assert [child["status"] for child in again.children] == ["complete"]


def test_a_reset_step_whose_task_is_deleted_keeps_what_it_was_told(flow: Flow):
    family = Family(flow, child={"only": []})
    family.worker.commit(finish(family.worker.claim()[0]))
    family.worker.commit(finish(family.worker.claim()[0], NEVER))
    flow.rows("DELETE FROM tasker.tasks WHERE name = 'child' RETURNING 1")

    control(flow, family.row.task_uuid, family.step.step_uuid, StepAction.RESET_FOR_RETRY)

    (again,) = family.worker.claim()
    assert [child["status"] for child in again.children] == ["complete"]


def test_a_task_does_not_stand_still_because_a_step_of_it_waits_for_tasks(flow: Flow):
    family = Family(flow)
    age(flow, 3 * 24 * 60)

    with session(flow.pool) as connection:
        found = stale_tasks(connection, LIMITS, limit=10)

    assert family.row.task_uuid not in [task.task_uuid for task in found]


def test_a_waiting_step_of_a_task_that_stood_still_fails_with_it_and_can_be_reset(flow: Flow):
    child = flow.register(CHILD, name="child")
    (row,) = flow.create(flow.register({"one": [], "two": []}))
    worker = Worker(flow)
    steps = by_name(worker.claim())
    finished, (made,) = started(steps["one"], child)
    worker.commit(finished)

    stand_still(flow, row.task_uuid)

    assert flow.states(row.task_uuid) == {"one": "error", "two": "error"}
    assert [each.task_uuid for each in cancel_abandoned(flow.pool)] == [made.task_uuid]
    for step in steps.values():
        control(flow, row.task_uuid, step.step_uuid, StepAction.RESET_FOR_RETRY)
    assert [step.children for step in worker.claim()] == [(), ()]


def test_a_task_whose_idempotency_key_is_taken_fails_its_step_and_no_other(flow: Flow):
    child = flow.register(CHILD, name="child")
    one, two = flow.create(flow.register(PARENT, name="parent"), 2)
    worker = Worker(flow)
    steps = {step.task.task_uuid: step for step in worker.claim() if step.name == "call"}
    refused, _ = started(steps[one.task_uuid], child, count=2, idempotency_key="taken")
    fine, _ = started(steps[two.task_uuid], child, idempotency_key="free")

    with pytest.raises(Exception, match="with the identity of one that the step starts is there already"):
        worker.commit(refused, fine)

    assert flow.states(one.task_uuid) == flow.states(two.task_uuid) == {"call": "in_progress", "after": "pending"}
    assert worker.commit(fine).won == {steps[two.task_uuid].token}


def test_a_step_cannot_wait_for_a_task_that_its_own_task_has_not_started(flow: Flow):
    rows = flow.create(flow.register(PARENT, name="parent"), 2)
    worker = Worker(flow)
    steps = {step.task.task_uuid: step for step in worker.claim()}
    step = steps[rows[0].task_uuid]

    for stranger in (rows[0].task_uuid, rows[1].task_uuid, "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"):
        with pytest.raises(Exception, match=f"waits for task {stranger}, which its own task has not started"):
            worker.commit(finish(step, waits(stranger)))

    assert flow.rows("SELECT FROM tasker.waits") == []


def slice_with_task(flow: Flow) -> tuple[Worker, Any, Any, Any]:
    """A step that has started a task in its first slice of work, and is leased for the second one."""
    child = flow.register({"only": []}, name="child")
    flow.create(flow.register(PARENT, name="parent"))
    worker = Worker(flow)
    (step,) = worker.claim()
    starter = starter_of(step, child)
    made = starter.start("shop/child", {}, priority=None, tags=(), idempotency_key=None)
    reply = worker.commit(finish(step, slice_done(1), started=starter.started), places=1)
    (again,) = worker.continued(reply, step)
    return worker, step, again, made


def control(flow: Flow, task: str, step: str, action: StepAction, result: bytes | None = None) -> Any:
    """Do to a step what an operator decided."""
    reply = resolve_step(flow.pool, task, step, Decision(action, "ann", "a test", result=result, result_bytes=2))
    assert reply is not None
    return reply


def stand_still(flow: Flow, task_uuid: str) -> None:
    """Let a task fail because it stands still."""
    flow.rows(
        "UPDATE tasker.templates SET definition = definition || %s::jsonb RETURNING 1",
        '{"lifecycle": {"staleness_action": "error", "max_steps_in_process_minutes": 1}}',
    )
    age(flow, 3 * 24 * 60)
    with session(flow.pool) as connection:
        (found,) = stale_tasks(connection, LIMITS, limit=10)
        assert enter_stale_task(connection, found) is not None
    assert flow.task(task_uuid)["status"] == "error"
