"""Results of decisions, batches and slices of work as handlers return them, and templates that have such steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasker_actors.workflow.outcome import StepSuccess

APPROVAL = {
    "validate": [],
    "route": ["validate"],
    "small": ["route"],
    "large": ["route"],
    "finish": ["small", "large"],
}
APPROVAL_TYPES = {"route": {"type": "decision"}, "finish": {"type": "deferred_convergence"}}
CSV = {"analyze": [], "work": ["analyze"], "sum": ["work"]}


def csv_types(strategy: str = "continue_on_failure") -> dict[str, dict[str, Any]]:
    """What makes the graph CSV a batch: its worker's failure strategy is this one."""
    return {
        "analyze": {"type": "batchable"},
        "work": {"type": "batch_worker", "batch_config": {"worker_template": "work", "failure_strategy": strategy}},
        "sum": {"type": "deferred_convergence"},
    }


def chosen(*names: str) -> StepSuccess:
    """A decision that names steps, or none."""
    outcome: dict[str, Any] = {"type": "create_steps", "step_names": list(names)} if names else {"type": "no_branches"}
    return StepSuccess({"decision_point_outcome": outcome, "why": "a test"})


def ranges(count: int, size: int = 10) -> list[dict[str, Any]]:
    """Cursor configurations one after the other."""
    return [
        {"batch_id": f"{n + 1:03d}", "start_cursor": n * size, "end_cursor": (n + 1) * size, "batch_size": size}
        for n in range(count)
    ]


def divided(count: int, worker: str = "work") -> StepSuccess:
    """A batchable step that makes so many instances of its worker, `work_001`, `work_002` and so on, or none."""
    if count == 0:
        return StepSuccess({"batch_processing_outcome": {"type": "no_batches"}})
    return batches(ranges(count), worker)


def batches(configs: Sequence[Any], worker: str = "work", **changes: Any) -> StepSuccess:
    """A batchable step with these ranges."""
    outcome = {
        "type": "create_batches",
        "worker_template_name": worker,
        "worker_count": len(configs),
        "cursor_configs": list(configs),
        "total_items": 10 * len(configs),
        **changes,
    }
    return StepSuccess({"batch_processing_outcome": outcome})


def slice_done(cursor: Any, items: int = 1, results: Any = None) -> StepSuccess:
    """A handler that ends a slice of its work."""
    result = {"type": "checkpoint_yield", "cursor": cursor, "items_processed": items}
    if results is not None:
        result["accumulated_results"] = results
    return StepSuccess(result, {"checkpoint_yield": True, "batch_worker": True})
