"""What a task's steps say about the task: the derived fields of SPEC 8, in tasker-core's words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tasker_actors.workflow.dag import descendants
from tasker_actors.workflow.states import DONE_STEP_STATES, StepState, TaskState


class ExecutionStatus(StrEnum):
    """What a task is doing."""

    HAS_READY_STEPS = "has_ready_steps"
    PROCESSING = "processing"
    BLOCKED_BY_FAILURES = "blocked_by_failures"
    ALL_COMPLETE = "all_complete"
    WAITING_FOR_DEPENDENCIES = "waiting_for_dependencies"


class RecommendedAction(StrEnum):
    """What to do about a task; each belongs to one execution status."""

    EXECUTE_READY_STEPS = "execute_ready_steps"
    WAIT_FOR_COMPLETION = "wait_for_completion"
    HANDLE_FAILURES = "handle_failures"
    FINALIZE_TASK = "finalize_task"
    WAIT_FOR_DEPENDENCIES = "wait_for_dependencies"


class HealthStatus(StrEnum):
    """How well a task is."""

    HEALTHY = "healthy"
    """No step failed for good, and none waits for a retry; or what failed did not matter."""
    RECOVERING = "recovering"
    """Something failed, and something can still run."""
    BLOCKED = "blocked"
    """Something failed for good, and nothing can run any more."""
    UNKNOWN = "unknown"
    """There are no steps to judge by."""


_ACTION = {
    ExecutionStatus.HAS_READY_STEPS: RecommendedAction.EXECUTE_READY_STEPS,
    ExecutionStatus.PROCESSING: RecommendedAction.WAIT_FOR_COMPLETION,
    ExecutionStatus.BLOCKED_BY_FAILURES: RecommendedAction.HANDLE_FAILURES,
    ExecutionStatus.ALL_COMPLETE: RecommendedAction.FINALIZE_TASK,
    ExecutionStatus.WAITING_FOR_DEPENDENCIES: RecommendedAction.WAIT_FOR_DEPENDENCIES,
}


@dataclass(frozen=True, slots=True)
class StepCounts:
    """How many steps of a task are in each state; what `summarize_counts` needs, and SQL can count.

    `ready` of the pending, enqueued and waiting ones could be claimed now; `blocked` of the pending ones can never
    run, because an ancestor failed for good or was cancelled.
    """

    pending: int = 0
    enqueued: int = 0
    in_progress: int = 0
    waiting_for_retry: int = 0
    complete: int = 0
    error: int = 0
    cancelled: int = 0
    resolved_manually: int = 0
    ready: int = 0
    blocked: int = 0

    @property
    def total(self) -> int:
        """The number of steps: each is in exactly one state."""
        unfinished = self.pending + self.enqueued + self.in_progress + self.waiting_for_retry
        return unfinished + self.complete + self.error + self.cancelled + self.resolved_manually

    @property
    def done(self) -> int:
        """The number of steps that release their successors."""
        return self.complete + self.resolved_manually

    @property
    def runnable(self) -> int:
        """The number of steps that run, or may still run."""
        return self.pending - self.blocked + self.enqueued + self.in_progress + self.waiting_for_retry


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """The derived fields of a task in SPEC 8.

    Every step but a cancelled one is counted once: in `pending_steps` (pending, enqueued or waiting for a retry),
    `in_progress_steps`, `completed_steps` (complete or resolved by hand) or `failed_steps`. `ready_steps` is the part
    of `pending_steps` that could be claimed now.
    """

    status: TaskState
    execution_status: ExecutionStatus
    recommended_action: RecommendedAction
    completion_percentage: float
    health_status: HealthStatus
    total_steps: int
    pending_steps: int
    in_progress_steps: int
    completed_steps: int
    failed_steps: int
    ready_steps: int


def summarize(
    step_states: Mapping[str, StepState],
    dependencies: Mapping[str, Collection[str]],
    *,
    retries_due: Collection[str] = (),
    task_state: TaskState | None = None,
) -> TaskSummary:
    """Derive a task's summary from the states of its steps and what each depends on.

    `retries_due` names steps whose retry delay is over. `task_state`, where the task has one that was set and not
    derived (cancelled, resolved by hand), is returned as the status.
    """
    return summarize_counts(count_steps(step_states, dependencies, retries_due=retries_due), task_state=task_state)


def count_steps(
    step_states: Mapping[str, StepState],
    dependencies: Mapping[str, Collection[str]],
    *,
    retries_due: Collection[str] = (),
) -> StepCounts:
    """Count a task's steps by state, and those of them that are ready or blocked."""
    by_state = dict.fromkeys(StepState, 0)
    for state in step_states.values():
        by_state[state] += 1
    failed = [name for name, state in step_states.items() if state in (StepState.ERROR, StepState.CANCELLED)]
    below = descendants({name: tuple(dependencies.get(name, ())) for name in step_states})
    cut_off = set().union(*(below[name] for name in failed)) if failed else set()
    ready = 0
    for name, state in step_states.items():
        match state:
            case StepState.PENDING:
                ready += all(step_states[needed] in DONE_STEP_STATES for needed in dependencies.get(name, ()))
            case StepState.ENQUEUED:
                ready += 1
            case StepState.WAITING_FOR_RETRY:
                ready += name in retries_due
            case _:
                pass
    return StepCounts(
        **{state.value: count for state, count in by_state.items()},
        ready=ready,
        blocked=sum(step_states[name] is StepState.PENDING for name in cut_off),
    )


def summarize_counts(counts: StepCounts, *, task_state: TaskState | None = None) -> TaskSummary:
    """Derive a task's summary from the counts of its steps.

    A task that is complete is so whatever failed in it: parts of a batch may fail without stopping the rest.
    """
    complete = task_state is TaskState.COMPLETE
    execution_status = ExecutionStatus.ALL_COMPLETE if complete else _execution_status(counts)
    return TaskSummary(
        status=task_state or _status(counts),
        execution_status=execution_status,
        recommended_action=_ACTION[execution_status],
        completion_percentage=round(100 * counts.done / counts.total, 2) if counts.total else 0.0,
        health_status=HealthStatus.HEALTHY if complete else _health(counts),
        total_steps=counts.total,
        pending_steps=counts.pending + counts.enqueued + counts.waiting_for_retry,
        in_progress_steps=counts.in_progress,
        completed_steps=counts.done,
        failed_steps=counts.error,
        ready_steps=counts.ready,
    )


def _status(counts: StepCounts) -> TaskState:
    if counts.total == 0:
        return TaskState.PENDING
    if counts.runnable == 0:
        if counts.error:
            return TaskState.ERROR
        return TaskState.CANCELLED if counts.cancelled else TaskState.COMPLETE
    if counts.waiting_for_retry and not (counts.in_progress or counts.ready):
        return TaskState.WAITING_FOR_RETRY
    untouched = counts.pending + counts.enqueued == counts.total
    return TaskState.PENDING if untouched else TaskState.IN_PROGRESS


def _execution_status(counts: StepCounts) -> ExecutionStatus:
    # Runnable work comes before failures, unlike in tasker-core: a failed step blocks its descendants only (SPEC 5).
    if counts.ready:
        return ExecutionStatus.HAS_READY_STEPS
    if counts.in_progress:
        return ExecutionStatus.PROCESSING
    if counts.runnable == 0 and counts.total:
        # What was cancelled is over too: nothing of such a task is left to do, unless something failed.
        return ExecutionStatus.BLOCKED_BY_FAILURES if counts.error else ExecutionStatus.ALL_COMPLETE
    return ExecutionStatus.WAITING_FOR_DEPENDENCIES


def _health(counts: StepCounts) -> HealthStatus:
    if counts.total == 0:
        return HealthStatus.UNKNOWN
    if counts.error and counts.runnable == 0:
        return HealthStatus.BLOCKED
    if counts.error or counts.waiting_for_retry:
        return HealthStatus.RECOVERING
    return HealthStatus.HEALTHY
