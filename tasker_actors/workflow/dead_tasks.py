"""The vocabulary of dead letters of tasks, and how long a task may stand still."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DlqReason(StrEnum):
    """Why somebody should look at a task."""

    STALENESS_TIMEOUT = "staleness_timeout"
    MAX_RETRIES_EXCEEDED = "max_retries_exceeded"
    DEPENDENCY_CYCLE_DETECTED = "dependency_cycle_detected"
    """Part of the vocabulary of the original; a template with a cycle is refused when it is loaded here."""
    WORKER_UNAVAILABLE = "worker_unavailable"
    MANUAL_DLQ = "manual_dlq"


class DlqStatus(StrEnum):
    """How far an investigation is."""

    PENDING = "pending"
    MANUALLY_RESOLVED = "manually_resolved"
    PERMANENTLY_FAILED = "permanently_failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class StalenessLimits:
    """Minutes that a task may stand still in a state, or take in all; None: for ever. Templates come first.

    `scanned_steps` is how many waiting steps of each namespace, the oldest, tell which tasks are looked at.
    """

    waiting_for_dependencies: int | None
    waiting_for_retry: int | None
    steps_in_process: int | None
    duration: int | None
    scanned_steps: int
