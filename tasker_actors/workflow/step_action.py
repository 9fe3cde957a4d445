"""What a person can do to a step."""

from __future__ import annotations

from enum import StrEnum


class StepAction(StrEnum):
    """What a person can do to a step."""

    RESET_FOR_RETRY = "reset_for_retry"
    """It runs again, as if it had never been tried."""
    RESOLVE_MANUALLY = "resolve_manually"
    """It counts as done, without a result."""
    COMPLETE_MANUALLY = "complete_manually"
    """It is complete with a result that the person gives."""
