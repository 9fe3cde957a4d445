"""What a step's end releases and blocks, and when the task is over; random graphs are in tests/properties."""

from __future__ import annotations

from tasker_actors.workflow.progress import StepProgress, TaskProgress
from tasker_actors.workflow.states import StepState, TaskState
from tasker_actors.workflow.step_type import StepType

DIAMOND = {"top": (), "left": ("top",), "right": ("top",), "bottom": ("left", "right")}


def task_of(graph=DIAMOND):
    return TaskProgress({name: StepProgress(name, needs) for name, needs in graph.items()})


def ended(task, name, state):
    """Let a step end in a state, and name what that releases."""
    task.finish(task.steps[name], state)
    task.follow()
    return [step.name for step in task.release()]


def test_a_step_runs_once_everything_it_needs_is_complete():
    task = task_of()

    assert [step.name for step in task.release()] == ["top"]
    assert task.release() == []
    assert ended(task, "top", StepState.COMPLETE) == ["left", "right"]
    assert ended(task, "right", StepState.COMPLETE) == []
    assert ended(task, "left", StepState.COMPLETE) == ["bottom"]
    assert task.status is TaskState.IN_PROGRESS
    assert ended(task, "bottom", StepState.COMPLETE) == []
    assert (task.status, task.open_steps, task.is_over) == (TaskState.COMPLETE, 0, True)


def test_a_failure_blocks_what_is_below_and_the_task_is_over_when_nothing_else_can_run():
    task = task_of()
    task.release()
    ended(task, "top", StepState.COMPLETE)

    assert ended(task, "left", StepState.ERROR) == []
    assert [step.name for step in task.steps.values() if step.blocked] == ["bottom"]
    assert (task.status, task.open_steps) == (TaskState.IN_PROGRESS, 1)
    assert ended(task, "right", StepState.COMPLETE) == []
    assert (task.status, task.open_steps, task.failed_steps) == (TaskState.ERROR, 0, 1)
    assert task.steps["bottom"].state is StepState.PENDING


def test_a_retry_neither_releases_nor_blocks():
    task = task_of()
    task.release()

    assert task.status is TaskState.PENDING
    assert ended(task, "top", StepState.WAITING_FOR_RETRY) == []
    assert (task.status, task.steps["top"].attempts) == (TaskState.IN_PROGRESS, 1)
    assert ended(task, "top", StepState.COMPLETE) == ["left", "right"]
    assert task.steps["top"].attempts == 2


def test_a_cancelled_task_keeps_what_it_has_and_releases_nothing():
    task = task_of()
    task.release()
    task.finish(task.steps["top"], StepState.COMPLETE)

    assert task.cancel()
    assert [step.state.value for step in task.steps.values()] == ["complete", "cancelled", "cancelled", "cancelled"]
    assert (task.status, task.open_steps, task.release()) == (TaskState.CANCELLED, 0, [])
    assert not task.cancel()


def test_what_is_over_cannot_be_cancelled():
    task = task_of({"only": ()})
    task.release()
    task.finish(task.steps["only"], StepState.COMPLETE)

    assert not task.cancel()
    assert task.status is TaskState.COMPLETE


BRANCHES = {
    "route": (),
    "left": ("route",),
    "right": ("route",),
    "deep": ("left",),
    "join": ("deep", "right"),
}
KINDS = {"route": StepType.DECISION, "join": StepType.DEFERRED_CONVERGENCE}


def branching():
    return TaskProgress({name: StepProgress(name, needs) for name, needs in BRANCHES.items()}, kinds=KINDS)


def test_what_a_decision_leaves_out_never_exists_and_what_waits_for_it_waits_no_more():
    task = branching()

    assert list(task.steps) == ["route"]
    assert task.open_steps == 5
    task.release()
    task.finish(task.steps["route"], StepState.COMPLETE, omitted=["left"])
    task.follow()
    assert list(task.steps) == ["route", "right", "join"]
    assert [step.name for step in task.release()] == ["right"]
    assert ended(task, "right", StepState.COMPLETE) == ["join"]
    assert task.open_steps == 1


def test_a_failed_branch_bars_the_convergence_although_another_is_done():
    task = branching()
    task.release()
    ended(task, "route", StepState.COMPLETE)

    assert ended(task, "right", StepState.COMPLETE) == []
    assert ended(task, "left", StepState.ERROR) == []
    assert {step.name for step in task.steps.values() if step.blocked} == {"deep", "join"}
    assert task.status is TaskState.ERROR


def test_a_failed_decision_ends_the_task_and_what_it_would_have_decided():
    task = branching()
    task.release()

    assert ended(task, "route", StepState.ERROR) == []
    assert (task.status, list(task.steps)) == (TaskState.ERROR, ["route"])


def test_a_batch_that_does_not_exist_is_not_divided():
    task = task_of({"a": (), "b": ("a",)})

    task.divide("c", [StepProgress("c_001")])
    assert list(task.steps) == ["a", "b"]
