"""The mixin of handlers of batch steps: analyses, workers and their convergence, under tasker-py's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tasker_actors.steps.batch.aggregation import BatchAggregationScenario, aggregate_batch_results
from tasker_actors.steps.batch.outcomes import (
    BatchAnalyzerOutcome,
    BatchWorkerInputs,
    BatchWorkerOutcome,
    batch_cursors,
    create_batches,
    no_batches,
)
from tasker_actors.steps.batch.ranges import (
    BatchWorkerConfig,
    CursorConfig,
    metadata_of,
    ranges_for_workers,
    ranges_of_size,
)
from tasker_actors.steps.batch.worker_context import BatchWorkerContext, worker_inputs
from tasker_actors.steps.checkpoint import checkpoint_yield
from tasker_actors.steps.result import StepHandlerResult

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext


class Batchable:
    """Adds to a StepHandler what batch steps need; it keeps nothing, so all threads may share the handler."""

    # Analyses

    def create_cursor_config(
        self, start: int, end: int, step_size: int = 1, metadata: Mapping[str, Any] | None = None
    ) -> CursorConfig:
        """Make one range."""
        return CursorConfig(start_cursor=start, end_cursor=end, step_size=step_size, metadata=metadata_of(metadata))

    def create_cursor_ranges(
        self, total_items: int, batch_size: int, step_size: int = 1, max_batches: int | None = None
    ) -> list[CursorConfig]:
        """Cut items into ranges of a size; see `ranges_of_size`."""
        return ranges_of_size(total_items, batch_size, step_size=step_size, max_batches=max_batches)

    def create_cursor_configs(self, total_items: int, worker_count: int) -> list[BatchWorkerConfig]:
        """Cut items into ranges for a number of workers; see `ranges_for_workers`."""
        return ranges_for_workers(total_items, worker_count)

    def create_batch_outcome(
        self,
        total_items: int,
        batch_size: int,
        step_size: int = 1,
        batch_metadata: Mapping[str, Any] | None = None,
    ) -> BatchAnalyzerOutcome:
        """Cut items into ranges of a size, as the outcome of an analysis."""
        return BatchAnalyzerOutcome(
            cursor_configs=ranges_of_size(total_items, batch_size, step_size=step_size),
            total_items=total_items,
            batch_metadata=metadata_of(batch_metadata),
        )

    def create_batch_outcome_from_ranges(
        self,
        ranges: Sequence[tuple[int, int]],
        step_size: int = 1,
        total_items: int | None = None,
        batch_metadata: Mapping[str, Any] | None = None,
    ) -> BatchAnalyzerOutcome:
        """Take ranges of one's own as the outcome of an analysis."""
        return BatchAnalyzerOutcome.from_ranges(ranges, step_size, total_items, batch_metadata)

    def batch_analyzer_success(
        self,
        outcome: BatchAnalyzerOutcome | None = None,
        metadata: Mapping[str, Any] | None = None,
        worker_template_name: str = "batch_worker",
        cursor_configs: Sequence[CursorConfig] | None = None,
        total_items: int | None = None,
        batch_metadata: Mapping[str, Any] | None = None,
    ) -> StepHandlerResult:
        """Complete a batchable step: one worker of step `worker_template_name` for each range, or no batches.

        The ranges come with `outcome` or as `cursor_configs`; without `total_items` those of the ranges count.
        """
        if cursor_configs is None and outcome is not None:
            cursor_configs, total_items = outcome.cursor_configs, outcome.total_items
            batch_metadata = outcome.batch_metadata
        shared = metadata_of(batch_metadata)
        if not cursor_configs:
            default = "no_cursor_configs_provided" if cursor_configs is None else "empty_dataset"
            return self.no_batches_outcome(reason=str(shared.get("reason", default)), metadata=shared)
        cursors = batch_cursors(cursor_configs)
        total = sum(cursor.batch_size for cursor in cursors) if total_items is None else total_items
        processing = create_batches(worker_template_name, len(cursors), cursors, total)
        result = {
            "batch_processing_outcome": processing.model_dump(),
            "worker_count": len(cursors),
            "total_items": total,
            **({"batch_metadata": shared} if shared else {}),
        }
        return StepHandlerResult.success(result, {**(metadata or {}), "batch_analyzer": True})

    def no_batches_outcome(self, reason: str, metadata: Mapping[str, Any] | None = None) -> StepHandlerResult:
        """Complete a batchable step that needs no workers; `metadata` becomes part of its result."""
        result = {"batch_processing_outcome": no_batches().model_dump(), "reason": reason, **(metadata or {})}
        return StepHandlerResult.success(result, {"batch_analyzer": True, "no_batches": True})

    # Workers

    def get_batch_context(self, context: StepContext) -> BatchWorkerContext | None:
        """Return the range of this worker, or None where the step is no worker of a batch."""
        return BatchWorkerContext.from_step_context(context)

    def get_batch_worker_inputs(self, context: StepContext) -> BatchWorkerInputs | None:
        """Return the inputs of this worker as the runtime made them, or None."""
        return worker_inputs(context)

    def handle_no_op_worker(self, context: StepContext) -> StepHandlerResult | None:
        """Return the result of a placeholder for no batches, and None for a worker that has something to do."""
        inputs = worker_inputs(context)
        if inputs is None or not inputs.is_no_op:
            return None
        return StepHandlerResult.success(
            {
                "batch_id": inputs.cursor.batch_id,
                "no_op": True,
                "processed_count": 0,
                "message": "No batches to process",
                "processed_at": datetime.now(UTC).isoformat(),
            }
        )

    def create_batch_context(
        self,
        cursor_config: CursorConfig,
        batch_index: int,
        total_batches: int,
        batch_metadata: Mapping[str, Any] | None = None,
    ) -> BatchWorkerContext:
        """Make the context of a worker by hand, for tests of a handler."""
        return BatchWorkerContext(
            batch_id=str(uuid4()),
            cursor_config=cursor_config,
            batch_index=batch_index,
            total_batches=total_batches,
            batch_metadata=metadata_of(batch_metadata),
        )

    def create_worker_outcome(
        self,
        items_processed: int,
        items_succeeded: int = 0,
        items_failed: int = 0,
        items_skipped: int = 0,
        results: Sequence[dict[str, Any]] | None = None,
        errors: Sequence[dict[str, Any]] | None = None,
        last_cursor: int | None = None,
        batch_metadata: Mapping[str, Any] | None = None,
    ) -> BatchWorkerOutcome:
        """Say what became of a range; without `items_succeeded` it is what neither failed nor was skipped."""
        return BatchWorkerOutcome(
            items_processed=items_processed,
            items_succeeded=items_succeeded or max(0, items_processed - items_failed - items_skipped),
            items_failed=items_failed,
            items_skipped=items_skipped,
            results=list(results or ()),
            errors=list(errors or ()),
            last_cursor=last_cursor,
            batch_metadata=metadata_of(batch_metadata),
        )

    def batch_worker_success(
        self,
        outcome: BatchWorkerOutcome | None = None,
        metadata: Mapping[str, Any] | None = None,
        items_processed: int | None = None,
        items_succeeded: int | None = None,
        items_failed: int = 0,
        items_skipped: int = 0,
        results: Sequence[dict[str, Any]] | None = None,
        errors: Sequence[dict[str, Any]] | None = None,
        last_cursor: int | None = None,
        batch_metadata: Mapping[str, Any] | None = None,
    ) -> StepHandlerResult:
        """Complete a worker of a batch, with an `outcome` or with its counts; `invalid_args` without either."""
        if items_processed is not None:
            outcome = BatchWorkerOutcome(
                items_processed=items_processed,
                items_succeeded=items_processed if items_succeeded is None else items_succeeded,
                items_failed=items_failed,
                items_skipped=items_skipped,
                results=list(results or ()),
                errors=list(errors or ()),
                last_cursor=last_cursor,
                batch_metadata=metadata_of(batch_metadata),
            )
        if outcome is None:
            return StepHandlerResult.failure(
                "batch_worker_success needs an outcome or items_processed", "invalid_args", retryable=False
            )
        return StepHandlerResult.success(outcome.document(), {**(metadata or {}), "batch_worker": True})

    def batch_worker_partial_failure(
        self, outcome: BatchWorkerOutcome, message: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> StepHandlerResult:
        """Complete a worker some of whose items failed; the result says so in `partial_failure`."""
        result = {**outcome.document(), "partial_failure": True}
        if message:
            result["partial_failure_message"] = message
        return StepHandlerResult.success(result, {**(metadata or {}), "batch_worker": True, "had_failures": True})

    def checkpoint_yield(
        self, cursor: Any, items_processed: int, accumulated_results: Mapping[str, Any] | None = None
    ) -> StepHandlerResult:
        """Store how far the step came and have its handler called again; see `checkpoint.checkpoint_yield`."""
        return checkpoint_yield(cursor, items_processed, accumulated_results, {"batch_worker": True})

    # Convergence

    def detect_aggregation_scenario(
        self, dependency_results: Mapping[str, Any], batchable_step_name: str, batch_worker_prefix: str
    ) -> BatchAggregationScenario:
        """Tell whether there were workers, and what they gave; see `BatchAggregationScenario.detect`."""
        return BatchAggregationScenario.detect(dependency_results, batchable_step_name, batch_worker_prefix)

    def no_batches_aggregation_result(self, zero_metrics: Mapping[str, Any] | None = None) -> StepHandlerResult:
        """Complete a convergence that had no workers, with the figures that stand for nothing."""
        return StepHandlerResult.success({"worker_count": 0, "scenario": "no_batches", **(zero_metrics or {})})

    def aggregate_batch_worker_results(
        self,
        scenario: BatchAggregationScenario,
        zero_metrics: Mapping[str, Any] | None = None,
        aggregation_fn: Callable[[dict[str, dict[str, Any]]], Mapping[str, Any]] | None = None,
    ) -> StepHandlerResult:
        """Complete a convergence with what `aggregation_fn` makes of the workers' results by step name.

        Without a function the results are passed on as `batch_results`; without workers it is `zero_metrics`.
        """
        if scenario.is_no_batches:
            return self.no_batches_aggregation_result(zero_metrics)
        results = scenario.batch_results
        made = {"batch_results": results} if aggregation_fn is None else aggregation_fn(results)
        return StepHandlerResult.success({**made, "worker_count": scenario.worker_count, "scenario": "with_batches"})

    @staticmethod
    def aggregate_worker_results(worker_results: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
        """Add up what workers of a batch counted; see `aggregate_batch_results`."""
        return aggregate_batch_results(worker_results).model_dump()
