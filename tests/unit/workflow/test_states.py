from itertools import pairwise

import pytest

from tasker_actors.workflow.states import (
    DONE_STEP_STATES,
    TERMINAL_STEP_STATES,
    TERMINAL_TASK_STATES,
    StepState,
    TaskState,
    can_move,
)


def test_the_states_have_the_names_of_the_specification():
    steps = "pending enqueued in_progress waiting_for_retry complete error cancelled resolved_manually"
    tasks = "pending in_progress waiting_for_retry blocked_by_failures complete error cancelled resolved_manually"
    assert " ".join(StepState) == steps
    assert " ".join(TaskState) == tasks
    assert all(state.name == state.value.upper() for state in (*StepState, *TaskState))


def test_a_step_goes_through_its_life():
    life = [
        StepState.PENDING,
        StepState.ENQUEUED,
        StepState.IN_PROGRESS,
        StepState.WAITING_FOR_RETRY,
        StepState.IN_PROGRESS,
        StepState.COMPLETE,
    ]
    assert all(can_move(current, to) for current, to in pairwise(life))


def test_a_claimed_step_that_did_not_begin_is_handed_back():
    assert can_move(StepState.IN_PROGRESS, StepState.ENQUEUED)


@pytest.mark.parametrize("current", sorted(TERMINAL_STEP_STATES))
@pytest.mark.parametrize("to", StepState)
def test_nothing_leaves_a_terminal_state_but_a_failure_that_a_person_settles(current, to):
    by_hand = (current, to) == (StepState.ERROR, StepState.RESOLVED_MANUALLY)
    assert can_move(current, to) is by_hand


@pytest.mark.parametrize("state", StepState)
def test_staying_is_no_move(state):
    assert not can_move(state, state)


@pytest.mark.parametrize("current", [StepState.PENDING, StepState.ENQUEUED, StepState.WAITING_FOR_RETRY])
@pytest.mark.parametrize("to", [StepState.COMPLETE, StepState.ERROR])
def test_only_a_running_step_can_finish(current, to):
    assert not can_move(current, to)
    assert can_move(StepState.IN_PROGRESS, to)


@pytest.mark.parametrize("current", sorted(set(StepState) - TERMINAL_STEP_STATES))
def test_every_unfinished_step_can_be_cancelled_and_resolved(current):
    assert can_move(current, StepState.CANCELLED)
    assert can_move(current, StepState.RESOLVED_MANUALLY)


def test_what_is_done_is_terminal():
    assert DONE_STEP_STATES < TERMINAL_STEP_STATES
    assert TaskState.BLOCKED_BY_FAILURES not in TERMINAL_TASK_STATES
