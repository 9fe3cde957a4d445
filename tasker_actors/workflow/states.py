"""The states of steps and tasks, and which moves between them are legal (SPEC 5)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class StepState(StrEnum):
    """Where one step of a task is."""

    PENDING = "pending"
    """Waits for its dependencies, or can never run because an ancestor failed for good."""
    ENQUEUED = "enqueued"
    """Released, and not begun by a handler."""
    IN_PROGRESS = "in_progress"
    """An attempt of it is leased to a worker."""
    WAITING_FOR_RETRY = "waiting_for_retry"
    """Its last attempt failed and the next one waits for its delay."""
    COMPLETE = "complete"
    ERROR = "error"
    """Failed for good."""
    CANCELLED = "cancelled"
    RESOLVED_MANUALLY = "resolved_manually"
    """Settled by a person: its successors go on as if it were complete."""


class TaskState(StrEnum):
    """Where a task is."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    WAITING_FOR_RETRY = "waiting_for_retry"
    BLOCKED_BY_FAILURES = "blocked_by_failures"
    """Part of the vocabulary of the original; a task that can only be blocked becomes `error` at once here."""
    COMPLETE = "complete"
    ERROR = "error"
    CANCELLED = "cancelled"
    RESOLVED_MANUALLY = "resolved_manually"


UNDECIDED = "undecided"
"""The stored state of a step of which a decision or a batch must first say whether it exists; nobody is shown it."""

TERMINAL_STEP_STATES = frozenset(
    {StepState.COMPLETE, StepState.ERROR, StepState.CANCELLED, StepState.RESOLVED_MANUALLY}
)
"""A step in one of these runs no more."""

DONE_STEP_STATES = frozenset({StepState.COMPLETE, StepState.RESOLVED_MANUALLY})
"""A step in one of these releases its successors."""

TERMINAL_TASK_STATES = frozenset(
    {TaskState.COMPLETE, TaskState.ERROR, TaskState.CANCELLED, TaskState.RESOLVED_MANUALLY}
)

_BY_HAND = frozenset({StepState.CANCELLED, StepState.RESOLVED_MANUALLY})

_MOVES: Mapping[StepState, frozenset[StepState]] = MappingProxyType(
    {
        StepState.PENDING: frozenset({StepState.ENQUEUED, StepState.IN_PROGRESS}) | _BY_HAND,
        StepState.ENQUEUED: frozenset({StepState.IN_PROGRESS}) | _BY_HAND,
        # Back to ENQUEUED or WAITING_FOR_RETRY: claimed and not begun, handed back uncounted.
        StepState.IN_PROGRESS: frozenset(
            {StepState.COMPLETE, StepState.ERROR, StepState.WAITING_FOR_RETRY, StepState.ENQUEUED}
        )
        | _BY_HAND,
        StepState.WAITING_FOR_RETRY: frozenset({StepState.ENQUEUED, StepState.IN_PROGRESS}) | _BY_HAND,
        StepState.COMPLETE: frozenset(),
        StepState.ERROR: frozenset({StepState.RESOLVED_MANUALLY}),
        StepState.CANCELLED: frozenset(),
        StepState.RESOLVED_MANUALLY: frozenset(),
    }
)


def can_move(current: StepState, to: StepState) -> bool:
    """Tell whether a step may go from one state straight to the other; staying is no move."""
    return to in _MOVES[current]
