"""How far an earlier call of the same step came, and how a handler says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tasker_actors.steps.result import StepHandlerResult


class CheckpointAccess:
    """Reads the parts of `checkpoint`, the document that was stored last, or None or empty before the first one."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    checkpoint: Any

    @property
    def checkpoint_cursor(self) -> Any:
        """Where to go on: a number, a text or an object, as the handler gave it; None without a checkpoint."""
        return (self.checkpoint or {}).get("cursor")

    @property
    def checkpoint_items_processed(self) -> int:
        """How many items were processed up to the checkpoint, over all calls."""
        return int((self.checkpoint or {}).get("items_processed") or 0)

    @property
    def accumulated_results(self) -> dict[str, Any] | None:
        """What the handler had gathered up to the checkpoint."""
        found: dict[str, Any] | None = (self.checkpoint or {}).get("accumulated_results")
        return found

    def has_checkpoint(self) -> bool:
        """Tell whether an earlier call left a place to go on from."""
        return self.checkpoint_cursor is not None


def checkpoint_yield(
    cursor: Any,
    items_processed: int,
    accumulated_results: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> StepHandlerResult:
    """Store how far the step came and have its handler called again; no attempt is counted.

    `items_processed` counts all calls. `accumulated_results` is any JSON that the next call wants to have.
    """
    document: dict[str, Any] = {"type": "checkpoint_yield", "cursor": cursor, "items_processed": items_processed}
    if accumulated_results is not None:
        document["accumulated_results"] = dict(accumulated_results)
    return StepHandlerResult.success(document, {**(metadata or {}), "checkpoint_yield": True})
