"""What a handler says to wait for tasks."""

from __future__ import annotations

import pytest

from tasker_actors.identifiers import new_uuid7
from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.workflow.outcome_fault import OutcomeFault
from tasker_actors.workflow.waiting import asks_to_wait, awaited_tasks

PLACE = "step 'call' of template shop/parent"


def awaited(result, max_tasks=3):
    return awaited_tasks(result, place=PLACE, max_tasks=max_tasks)


def test_only_the_mark_in_the_metadata_makes_a_success_a_wait():
    assert asks_to_wait(StepHandlerResult.wait_for([new_uuid7()]).metadata)
    assert not asks_to_wait({"wait_for_tasks": "yes"})


def test_each_task_is_waited_for_once_in_the_order_that_was_given():
    one, two = new_uuid7(), new_uuid7()

    assert awaited(StepHandlerResult.wait_for([two, one, two.upper()]).result) == (two, one)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"type": "wait_for_tasks", "task_uuids": []}, "result.task_uuids: names no task"),
        ({"type": "wait_for_tasks", "task_uuids": "all"}, "result.task_uuids: must be a list, not 'all'"),
        ({"type": "wait_for_tasks", "task_uuids": ["one"]}, "must be the UUID of a task, not 'one'"),
        ({"type": "wait_for_tasks", "task_uuids": [7]}, "must be the UUID of a task, not 7"),
        ({"type": "wait_for_tasks", "task_uuids": ["x"] * 4}, "names 4 tasks; sub_workflows.max_tasks is 3"),
        ({"type": "wait_for_task"}, "(did you mean 'wait_for_tasks'?)"),
        ([], "result: must be a mapping"),
    ],
)
def test_what_cannot_be_waited_for_is_said_with_step_and_key(result, said):
    with pytest.raises(OutcomeFault) as caught:
        awaited(result)

    assert caught.value.error_type == "invalid_wait"
    assert str(caught.value).startswith(f"{PLACE}: result")
    assert said in str(caught.value)
