"""What batch steps say they came to, in the JSON that the runtime and tasker-py's other steps read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from tasker_actors.steps.batch.ranges import CursorConfig, batch_id
from tasker_actors.workflow.step_type import FailureStrategy


class BatchCursor(BaseModel):
    """The range of one worker as it travels: cursors may also be text or objects, where a data source has such."""

    batch_id: str
    start_cursor: Any
    end_cursor: Any
    batch_size: int


class BatchMetadata(BaseModel):
    """What a worker of a batch gets to know of its step's `batch_config`."""

    checkpoint_interval: int | None = None
    cursor_field: str | None = None
    failure_strategy: FailureStrategy = FailureStrategy.CONTINUE_ON_FAILURE


class BatchWorkerInputs(BaseModel):
    """The inputs of one worker of a batch; a placeholder for no batches has `is_no_op` and an empty range."""

    cursor: BatchCursor = BatchCursor(batch_id="no_op", start_cursor=0, end_cursor=0, batch_size=0)
    batch_metadata: BatchMetadata = BatchMetadata()
    is_no_op: bool = False


class NoBatchesOutcome(BaseModel):
    """There is nothing to cut into batches."""

    type: Literal["no_batches"] = "no_batches"


class CreateBatchesOutcome(BaseModel):
    """Make these workers of the template's step `worker_template_name`."""

    type: Literal["create_batches"] = "create_batches"
    worker_template_name: str
    worker_count: int
    cursor_configs: list[BatchCursor]
    total_items: int


BatchProcessingOutcome = NoBatchesOutcome | CreateBatchesOutcome


class BatchAnalyzerOutcome(BaseModel):
    """The ranges that an analysis found, before they are given to workers."""

    cursor_configs: list[CursorConfig] = Field(default_factory=list)
    total_items: int | None = None
    batch_metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_ranges(
        cls,
        ranges: Sequence[tuple[int, int]],
        step_size: int = 1,
        total_items: int | None = None,
        batch_metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make one of pairs of start and end."""
        return cls(
            cursor_configs=[
                CursorConfig(start_cursor=start, end_cursor=end, step_size=step_size) for start, end in ranges
            ],
            total_items=total_items,
            batch_metadata=dict(batch_metadata or {}),
        )


class BatchWorkerOutcome(BaseModel):
    """What one worker of a batch did with its range."""

    items_processed: int = 0
    items_succeeded: int = 0
    items_failed: int = 0
    items_skipped: int = 0
    results: list[dict[str, Any]] = Field(default_factory=list)
    errors: list[dict[str, Any]] = Field(default_factory=list)
    last_cursor: int | None = None
    batch_metadata: dict[str, Any] = Field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the step's result; `results` and `errors` are left out where there are none."""
        return self.model_dump(exclude={name for name in ("results", "errors") if not getattr(self, name)})


def no_batches() -> NoBatchesOutcome:
    """Say that there is nothing to cut into batches."""
    return NoBatchesOutcome()


def create_batches(
    worker_template_name: str, worker_count: int, cursor_configs: Sequence[BatchCursor], total_items: int
) -> CreateBatchesOutcome:
    """Ask for workers, one for each range; ValueError where the count is another."""
    if len(cursor_configs) != worker_count:
        msg = f"worker_count is {worker_count} and there are {len(cursor_configs)} cursor_configs; give one a worker"
        raise ValueError(msg)
    return CreateBatchesOutcome(
        worker_template_name=worker_template_name,
        worker_count=worker_count,
        cursor_configs=list(cursor_configs),
        total_items=total_items,
    )


def batch_cursors(ranges: Sequence[CursorConfig]) -> list[BatchCursor]:
    """Number ranges as the runtime numbers the workers of a batch."""
    return [
        BatchCursor(
            batch_id=batch_id(number),
            start_cursor=one.start_cursor,
            end_cursor=one.end_cursor,
            batch_size=one.end_cursor - one.start_cursor,
        )
        for number, one in enumerate(ranges, start=1)
    ]
