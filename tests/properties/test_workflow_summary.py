"""The summary of a task agrees with itself, whatever state its steps are in."""

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.states import DONE_STEP_STATES, TERMINAL_STEP_STATES, TERMINAL_TASK_STATES, StepState
from tasker_actors.workflow.summary import ExecutionStatus, HealthStatus, RecommendedAction, summarize


@st.composite
def tasks(draw):
    names = "abcdefg"[: draw(st.integers(1, 7))]
    dependencies = {
        name: draw(st.sets(st.sampled_from(names[:index]))) if index else set() for index, name in enumerate(names)
    }
    states = {}
    for name in names:
        released = all(states[needed] in DONE_STEP_STATES for needed in dependencies[name])
        possible = list(StepState) if released else [StepState.PENDING, StepState.CANCELLED]
        states[name] = draw(st.sampled_from(possible))
    return states, dependencies


def can_still_run(states, dependencies):
    """The steps that run, wait, or have only such steps between them and running."""
    found = set()
    for name, state in states.items():
        if state is StepState.PENDING:
            fine = all(states[needed] in DONE_STEP_STATES or needed in found for needed in dependencies[name])
        else:
            fine = state not in TERMINAL_STEP_STATES
        if fine:
            found.add(name)
    return found


@given(tasks())
def test_the_summary_agrees_with_itself(task):
    states, dependencies = task
    summary = summarize(states, dependencies)
    cancelled = sum(state is StepState.CANCELLED for state in states.values())
    counted = summary.pending_steps + summary.in_progress_steps + summary.completed_steps + summary.failed_steps
    assert counted + cancelled == summary.total_steps == len(states)
    assert 0 <= summary.ready_steps <= summary.pending_steps
    assert (summary.completion_percentage == 100) == (summary.completed_steps == summary.total_steps)
    assert list(ExecutionStatus).index(summary.execution_status) == list(RecommendedAction).index(
        summary.recommended_action
    )


@given(tasks())
def test_a_task_ends_exactly_when_nothing_of_it_can_run(task):
    states, dependencies = task
    summary = summarize(states, dependencies)
    over = not can_still_run(states, dependencies)
    failed = StepState.ERROR in states.values()
    assert (summary.status in TERMINAL_TASK_STATES) is over
    assert (summary.status == "error") is (over and failed)
    assert (summary.execution_status is ExecutionStatus.BLOCKED_BY_FAILURES) is (over and failed)
    assert (summary.health_status is HealthStatus.BLOCKED) is (over and failed)
    assert (summary.execution_status is ExecutionStatus.ALL_COMPLETE) is (over and not failed)
