"""The types of steps, and what a batch does when one of its parts fails."""

from __future__ import annotations

from enum import StrEnum


class StepType(StrEnum):
    """What kind of step it is."""

    STANDARD = "standard"
    DECISION = "decision"
    """Chooses, by its result, which of its direct dependents exist."""
    DEFERRED_CONVERGENCE = "deferred_convergence"
    """Waits for those of its dependencies that exist; is there if any of them is."""
    BATCHABLE = "batchable"
    """Divides work, by its result, into the ranges that instances of a batch worker take."""
    BATCH_WORKER = "batch_worker"
    """Runs once for each range."""


class FailureStrategy(StrEnum):
    """What one failed batch means for the others."""

    CONTINUE_ON_FAILURE = "continue_on_failure"
    """The others go on, and what gathers their results does so without this one."""
    FAIL_FAST = "fail_fast"
    """The others are cancelled."""
    ISOLATE = "isolate"
    """The others go on; what waits for the batch waits until somebody has resolved this one."""
