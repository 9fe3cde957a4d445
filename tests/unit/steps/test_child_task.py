"""What a handler sees of a task that its step has waited for."""

from __future__ import annotations

import pytest

from tasker_actors.steps.child_task import ChildTask, ChildTaskFailedError
from tasker_actors.steps.failures import RetryableError

ROW = {
    "task_uuid": "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5",
    "namespace": "shop",
    "name": "invoice",
    "version": "1.0.0",
    "status": "complete",
    "results": {"send": {"sent": True}},
    "error": None,
}


def test_a_task_that_came_to_a_good_end_has_the_results_of_its_last_steps():
    child = ChildTask.of(ROW)

    child.raise_for_failure()

    assert child.is_complete
    assert (child.results, child.results_omitted) == ({"send": {"sent": True}}, False)


def test_results_without_room_are_empty_and_said_to_be_left_out():
    child = ChildTask.of({**ROW, "results": None})

    assert (child.results, child.results_omitted) == ({}, True)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("error", {"step_name": "send", "error_type": "x", "message": "no stamps"}, "is error: step 'send': no stamps"),
        ("cancelled", None, "is cancelled"),
    ],
)
def test_one_that_failed_fails_the_step_for_good_with_the_reason(status, error, said):
    child = ChildTask.of({**ROW, "status": status, "error": error})

    with pytest.raises(ChildTaskFailedError, match=said) as caught:
        child.raise_for_failure()

    assert not caught.value.retryable
    assert caught.value.child is child
    assert caught.value.metadata == {"child_task_uuid": child.task_uuid}


def test_one_that_is_not_over_is_worth_another_attempt():
    with pytest.raises(RetryableError, match="is not over: it is in_progress"):
        ChildTask.of({**ROW, "status": "in_progress"}).raise_for_failure()
