"""Bring the results of a batch's workers together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, Field

_COUNTS = ("processed", "succeeded", "failed", "skipped")
_MAX_ERRORS = 100
_ENVELOPE = frozenset({"result", "success", "status", "metadata", "error", "step_uuid", "execution_time_ms"})
"""Keys of tasker-py's record of an execution, around the handler's own result."""


class BatchAggregationResult(BaseModel):
    """The sum over a batch's workers; `errors` has the first of them, `error_count` counts all."""

    total_processed: int
    total_succeeded: int
    total_failed: int
    total_skipped: int
    batch_count: int
    success_rate: float
    errors: list[dict[str, Any]] = Field(default_factory=list)
    error_count: int


@dataclass(slots=True)
class BatchAggregationScenario:
    """Whether a batchable step made workers, and what they gave."""

    is_no_batches: bool
    batchable_result: dict[str, Any]
    batch_results: dict[str, dict[str, Any]]
    worker_count: int

    @classmethod
    def detect(cls, dependency_results: Mapping[str, Any], batchable_step_name: str, batch_worker_prefix: str) -> Self:
        """Read it from a step's `dependency_results`; ValueError where the batchable step or its workers are missing.

        Workers are the steps whose names start with `batch_worker_prefix`, in the order of the mapping.
        """
        if dependency_results.get(batchable_step_name) is None:
            known = ", ".join(dependency_results) or "none"
            msg = (
                f"there is no result of the batchable step {batchable_step_name!r} (there are: {known}); "
                "the step must depend on it, directly or not"
            )
            raise ValueError(msg)
        analysis = own_result(dependency_results[batchable_step_name])
        outcome = analysis.get("batch_processing_outcome")
        if isinstance(outcome, Mapping) and outcome.get("type") == "no_batches":
            return cls(is_no_batches=True, batchable_result=analysis, batch_results={}, worker_count=0)
        workers = {
            name: own_result(result)
            for name, result in dependency_results.items()
            if name.startswith(batch_worker_prefix)
        }
        if not workers:
            msg = (
                f"no step with the prefix {batch_worker_prefix!r} has a result, and {batchable_step_name!r} did not say"
                " no_batches; the prefix is the worker step's name"
            )
            raise ValueError(msg)
        return cls(is_no_batches=False, batchable_result=analysis, batch_results=workers, worker_count=len(workers))

    def no_batches(self) -> bool:
        """Tell whether there were no workers."""
        return self.is_no_batches


def aggregate_batch_results(
    worker_results: Iterable[Mapping[str, Any] | None], max_errors: int = _MAX_ERRORS
) -> BatchAggregationResult:
    """Add up what workers of a batch counted; None stands for one without a result and is left out."""
    given = [result for result in worker_results if result is not None]
    totals = {what: sum(int(result.get(f"items_{what}") or 0) for result in given) for what in _COUNTS}
    errors = [error for result in given for error in result.get("errors") or ()]
    return BatchAggregationResult(
        **{f"total_{what}": total for what, total in totals.items()},
        batch_count=len(given),
        success_rate=totals["succeeded"] / totals["processed"] if totals["processed"] else 0.0,
        errors=errors[:max_errors],
        error_count=len(errors),
    )


def own_result(result: Any) -> dict[str, Any]:
    """Return a handler's own result: results here are just that, those of tasker-py's tests are inside a record."""
    if isinstance(result, Mapping) and isinstance(result.get("result"), Mapping) and result.keys() <= _ENVELOPE:
        return dict(result["result"])
    return dict(result) if isinstance(result, Mapping) else {}
