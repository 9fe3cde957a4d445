import pytest

from tasker_actors.workflow.states import StepState, TaskState
from tasker_actors.workflow.summary import StepCounts, summarize, summarize_counts

DIAMOND = {"start": (), "left": ("start",), "right": ("start",), "end": ("left", "right")}


def of(start, left="pending", right="pending", end="pending", **more):
    names = zip(DIAMOND, (start, left, right, end), strict=True)
    return summarize({name: StepState(state) for name, state in names}, DIAMOND, **more)


@pytest.mark.parametrize(
    ("states", "status", "execution_status", "action", "health"),
    [
        (("pending",), "pending", "has_ready_steps", "execute_ready_steps", "healthy"),
        (("enqueued",), "pending", "has_ready_steps", "execute_ready_steps", "healthy"),
        (("in_progress",), "in_progress", "processing", "wait_for_completion", "healthy"),
        (("waiting_for_retry",), "waiting_for_retry", "waiting_for_dependencies", "wait_for_dependencies",
         "recovering"),
        (("complete",), "in_progress", "has_ready_steps", "execute_ready_steps", "healthy"),
        (("complete", "error"), "in_progress", "has_ready_steps", "execute_ready_steps", "recovering"),
        (("complete", "error", "in_progress"), "in_progress", "processing", "wait_for_completion", "recovering"),
        (("complete", "error", "complete"), "error", "blocked_by_failures", "handle_failures", "blocked"),
        (("complete", "error", "waiting_for_retry"), "waiting_for_retry", "waiting_for_dependencies",
         "wait_for_dependencies", "recovering"),
        (("complete", "waiting_for_retry", "in_progress"), "in_progress", "processing", "wait_for_completion",
         "recovering"),
        (("complete", "waiting_for_retry"), "in_progress", "has_ready_steps", "execute_ready_steps", "recovering"),
        (("error",), "error", "blocked_by_failures", "handle_failures", "blocked"),
        (("resolved_manually",), "in_progress", "has_ready_steps", "execute_ready_steps", "healthy"),
        (("complete", "complete", "complete", "complete"), "complete", "all_complete", "finalize_task", "healthy"),
        (("complete", "resolved_manually", "complete", "complete"), "complete", "all_complete", "finalize_task",
         "healthy"),
        (("complete", "cancelled", "cancelled", "cancelled"), "cancelled", "all_complete", "finalize_task", "healthy"),
        (("cancelled", "error", "cancelled", "cancelled"), "error", "blocked_by_failures", "handle_failures",
         "blocked"),
    ],
)  # fmt: skip
def test_what_the_states_of_the_steps_say_about_the_task(states, status, execution_status, action, health):
    summary = of(*states)
    assert summary.status == status
    assert summary.execution_status == execution_status
    assert summary.recommended_action == action
    assert summary.health_status == health


def test_each_step_is_counted_once():
    summary = of("complete", "in_progress", "error")
    counts = (summary.pending_steps, summary.in_progress_steps, summary.completed_steps, summary.failed_steps)
    assert counts == (1, 1, 1, 1)
    assert (summary.total_steps, summary.ready_steps, summary.completion_percentage) == (4, 0, 25.0)


def test_ready_steps_are_those_that_could_be_claimed_now():
    assert of("complete").ready_steps == 2
    assert of("complete", "enqueued", "in_progress").ready_steps == 1
    assert of("waiting_for_retry").ready_steps == 0
    assert of("waiting_for_retry", retries_due={"start"}).ready_steps == 1
    assert of("resolved_manually", "resolved_manually", "complete").ready_steps == 1


def test_a_state_that_was_set_by_hand_is_kept():
    assert of("cancelled", task_state=TaskState.RESOLVED_MANUALLY).status is TaskState.RESOLVED_MANUALLY


def test_percentages_have_two_places():
    assert summarize_counts(StepCounts(pending=2, complete=1)).completion_percentage == 33.33


def test_a_task_without_steps_tells_nothing():
    summary = summarize({}, {})
    assert (summary.total_steps, summary.completion_percentage, summary.health_status) == (0, 0.0, "unknown")
    assert (summary.status, summary.execution_status) == ("pending", "waiting_for_dependencies")


def test_a_task_that_is_complete_is_well_whatever_failed_in_it():
    summary = summarize_counts(StepCounts(complete=3, error=1), task_state=TaskState.COMPLETE)

    assert (summary.status, summary.execution_status, summary.health_status) == ("complete", "all_complete", "healthy")
    assert (summary.recommended_action, summary.failed_steps) == ("finalize_task", 1)
