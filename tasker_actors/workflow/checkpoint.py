"""How far a step has come: what its handler says when it ends a slice of its work, and what is kept of that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasker_actors.events.timestamp import timestamp
from tasker_actors.workflow.outcome_fault import OutcomePart

INVALID_CHECKPOINT = "invalid_checkpoint"
YIELDED = "yielded"
"""The outcome of an attempt that ended a slice of its work; it is not over, and goes on from the checkpoint."""
YIELD = "checkpoint_yield"


def asks_to_yield(metadata: Mapping[str, Any]) -> bool:
    """Tell whether a success with this metadata ends a slice of the work, and not the step."""
    return metadata.get(YIELD) is True


def next_checkpoint(
    result: Any, previous: Mapping[str, Any] | None, *, place: str, moment: datetime, max_history: int
) -> dict[str, Any]:
    """Make the checkpoint that is stored; OutcomeFault for a result that is none.

    `history` are the moments of the last `max_history` checkpoints with their cursors, this one included.
    """
    said = OutcomePart(result, INVALID_CHECKPOINT, place, "result")
    said.choice("type", [YIELD])
    cursor = said.get("cursor")
    now = timestamp(moment)
    history = [*(previous or {}).get("history", ()), {"cursor": cursor, "timestamp": now}]
    return {
        "cursor": cursor,
        "items_processed": said.count("items_processed"),
        "accumulated_results": said.get("accumulated_results") if said.has("accumulated_results") else None,
        "timestamp": now,
        "history": history[-max_history:],
    }
