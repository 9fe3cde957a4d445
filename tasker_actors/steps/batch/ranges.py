"""Cut a number of items into ranges, one for each worker of a batch. Starts are inclusive, ends exclusive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import BaseModel, Field


class CursorConfig(BaseModel):
    """The range of items of one worker of a batch."""

    start_cursor: int
    end_cursor: int
    step_size: int = 1
    metadata: dict[str, Any] = Field(default_factory=dict)


@dataclass(slots=True)
class BatchConfig:
    """What a function with `batch_analyzer` returns: so many items, in batches of this size.

    `metadata` is put into the step's result as `batch_metadata`, where workers and their convergence read it.
    """

    total_items: int
    batch_size: int
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class BatchWorkerConfig:
    """The range of one of a fixed number of workers; `worker_index` counts from 0, `batch_id` from "001"."""

    batch_id: str
    cursor_start: int
    cursor_end: int
    row_count: int
    worker_index: int
    total_workers: int

    def to_dict(self) -> dict[str, Any]:
        """Copy it into a plain dict."""
        return asdict(self)


def batch_id(number: int) -> str:
    """Return the id of the batch with this number, counted from 1."""
    return f"{number:03d}"


def ranges_of_size(
    total_items: int, batch_size: int, *, step_size: int = 1, max_batches: int | None = None
) -> list[CursorConfig]:
    """Cut items into ranges of a size; larger ones where there would be more than `max_batches`, none for no items.

    Raises ValueError for a size below 1 and for a negative number of items.
    """
    _check_items(total_items)
    if total_items == 0:
        return []
    if batch_size <= 0:
        msg = f"batch_size must be at least 1, got {batch_size}"
        raise ValueError(msg)
    if max_batches is not None and max_batches > 0:
        batch_size = max(batch_size, _ceiling(total_items, max_batches))
    return [
        CursorConfig(start_cursor=start, end_cursor=min(start + batch_size, total_items), step_size=step_size)
        for start in range(0, total_items, batch_size)
    ]


def ranges_for_workers(total_items: int, worker_count: int) -> list[BatchWorkerConfig]:
    """Cut items into equal ranges, the last one shorter; workers that would get nothing are left out.

    Raises ValueError for a count below 1 and for a negative number of items.
    """
    _check_items(total_items)
    if worker_count <= 0:
        msg = f"worker_count must be at least 1, got {worker_count}"
        raise ValueError(msg)
    size = max(1, _ceiling(total_items, worker_count))
    return [
        BatchWorkerConfig(
            batch_id=batch_id(index + 1),
            cursor_start=start,
            cursor_end=min(start + size, total_items),
            row_count=min(size, total_items - start),
            worker_index=index,
            total_workers=worker_count,
        )
        for index, start in enumerate(range(0, total_items, size))
    ]


def metadata_of(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Copy what a caller gave, so that nothing is added to a dict of theirs."""
    return dict(given or {})


def _check_items(total_items: int) -> None:
    if total_items < 0:
        msg = f"total_items must not be negative, got {total_items}"
        raise ValueError(msg)


def _ceiling(total: int, parts: int) -> int:
    return -(-total // parts)
