"""How far a step has come: what its handler says when it ends a slice of its work, and what is kept of that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from tasker_actors.events.json_size import stored_bytes
from tasker_actors.events.timestamp import timestamp
from tasker_actors.workflow.outcome_fault import OutcomePart, write_json

INVALID_CHECKPOINT = "invalid_checkpoint"
YIELDED = "yielded"
"""The outcome of an attempt that ended a slice of its work; it is not over, and goes on from the checkpoint."""
YIELD = "checkpoint_yield"


def asks_to_yield(metadata: Mapping[str, Any]) -> bool:
    """Tell whether a success with this metadata ends a slice of the work, and not the step."""
    return metadata.get(YIELD) is True


def next_checkpoint(
    result: Any, previous: Mapping[str, Any] | None, *, place: str, moment: datetime, max_history: int, max_bytes: int
) -> bytes:
    """Make the JSON of the checkpoint that is stored; OutcomeFault for a result that is none, or too large by itself.

    `history` are the moments of the last `max_history` checkpoints with their cursors, this one included; as many of
    them, the newest, as there is room for in `max_bytes`.
    """
    said = OutcomePart(result, INVALID_CHECKPOINT, place, "result")
    said.choice("type", [YIELD])
    cursor = said.get("cursor")
    now = timestamp(moment)
    stored = {
        "cursor": cursor,
        "items_processed": said.count("items_processed"),
        "accumulated_results": said.get("accumulated_results") if said.has("accumulated_results") else None,
        "timestamp": now,
    }
    history = [*(previous or {}).get("history", ()), {"cursor": cursor, "timestamp": now}][-max_history:]
    document = _json({**stored, "history": history}, place)
    if (size := stored_bytes(document)) <= max_bytes:
        return document
    bare = stored_bytes(_json({**stored, "history": []}, place))
    if bare > max_bytes:
        message = f"the checkpoint has {bare} bytes of JSON, at most {max_bytes} are allowed"
        raise said.fault("", f"{message} (batches.max_checkpoint_bytes)")
    while size > max_bytes:
        size -= stored_bytes(orjson.dumps(history.pop(0))) + bool(history)  # and the comma behind it
    return _json({**stored, "history": history}, place)


def _json(document: Mapping[str, Any], place: str) -> bytes:
    return write_json(document, INVALID_CHECKPOINT, place)
