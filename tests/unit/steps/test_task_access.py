"""Starting tasks and waiting for them, from a handler's seat."""

from __future__ import annotations

import pytest
from support.leases import DONE, NEVER, finish, leased, template
from support.sub_workflows import starter_of, waits

from tasker_actors.delivery.batch import batch_json, fallbacks
from tasker_actors.delivery.routing import commit_item, result_document
from tasker_actors.identifiers import new_uuid7
from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.steps.task_reference import TaskRefusedError
from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.registered import RegisteredTemplate


@pytest.fixture
def invoice():
    one = template({"a": []}, name="invoice")
    return RegisteredTemplate(1, one, plan(one))


def test_a_handler_starts_one_task_and_waits_for_it_in_a_line(make_context, invoice):
    starter = starter_of(leased(), invoice)

    result = make_context(starter=starter).start_and_wait("shop/invoice", {"n": 1}, checkpoint={"cursor": 3})

    (made,) = starter.started
    assert result.result == {
        "type": "wait_for_tasks",
        "task_uuids": [made.reference.task_uuid],
        "checkpoint": {"type": "checkpoint_yield", "cursor": 3, "items_processed": 0},
    }
    assert result.metadata == {"wait_for_tasks": True}


def test_a_context_that_was_made_by_hand_starts_nothing(make_context):
    with pytest.raises(TaskRefusedError, match="made by hand"):
        make_context().start_task("shop/invoice")


def test_references_children_and_ids_can_be_waited_for(invoice):
    starter = starter_of(leased(), invoice)
    reference = starter.start("shop/invoice", {}, priority=None, tags=(), idempotency_key=None)
    other = new_uuid7()

    assert StepHandlerResult.wait_for([reference, other]).result["task_uuids"] == [reference.task_uuid, other]


def test_what_a_handler_started_goes_with_its_success_and_with_no_failure(invoice):
    step = leased()
    starter = starter_of(step, invoice)
    starter.start("shop/invoice", {}, priority=None, tags=(), idempotency_key=None)

    assert finish(step, DONE, started=starter.started).started == tuple(starter.started)
    assert "starts" in result_document(finish(step, DONE, started=starter.started))["dynamic"]
    assert "dynamic" not in result_document(finish(step, NEVER, started=starter.started))


def test_a_wait_is_a_slice_that_locks_the_tasks_it_is_for_and_publishes_nothing():
    step, other = leased(publishes_events=[{"name": "a.b", "condition": "always"}]), new_uuid7()

    finished = finish(step, waits(other, checkpoint={"cursor": 1}))

    assert (finished.state, finished.derived.events, finished.awaited) == ("yielded", (), (other,))
    assert set(finished.follows) == {"waits", "checkpoint"}
    batch = batch_json([commit_item(finished)], worker_id=1, seq=1, lease_ms=1, places=0)
    assert other.encode() in batch.split(b'"results"')[0]


def test_a_wait_that_cannot_be_fails_the_step_for_good():
    finished = finish(leased(), waits("no id"))

    assert (finished.state, finished.outcome.error_type, finished.awaited) == ("error", "invalid_wait", ())


def test_what_postgresql_refuses_starts_and_waits_for_nothing(invoice):
    step = leased()
    starter = starter_of(step, invoice)
    made = starter.start("shop/invoice", {}, priority=None, tags=(), idempotency_key=None)

    (instead,) = fallbacks(commit_item(finish(step, waits(made), started=starter.started)), "no")

    assert "dynamic" not in instead.document
    assert (instead.finished.started, instead.finished.awaited) == ((), ())
