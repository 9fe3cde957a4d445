"""When tasks start that are not to start at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasker_actors.workflow.task_planning import PlannedTask
from tasker_actors.workflow.task_requests import NewTask


def are_delayed(requests: Iterable[NewTask]) -> bool:
    """Return whether one of these says when it is to start: then the time of the database is needed."""
    return any(request.run_at is not None or request.delay_seconds is not None for request in requests)


def with_starts(planned: Sequence[PlannedTask], requests: Sequence[NewTask], now: datetime) -> list[PlannedTask]:
    """Return planned tasks with their starts; `now` is the time of the database."""
    return [
        replace(each, row=replace(each.row, start_at=_start(request, now)))
        for each, request in zip(planned, requests, strict=True)
    ]


def _start(request: NewTask, now: datetime) -> datetime | None:
    if request.run_at is not None:
        # What is over is no moment to wait for: such a task has its priority like any other.
        return request.run_at.astimezone(UTC) if request.run_at > now else None
    return (now + timedelta(seconds=request.delay_seconds)).astimezone(UTC) if request.delay_seconds else None
