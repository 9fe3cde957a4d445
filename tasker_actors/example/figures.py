"""What the example counts when all flights are done, from the API that every user has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tasker_actors.telemetry.metrics import EVENTS_PUBLISHED

Task = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figures:
    """The events of the day, by delivery mode and name, and the counters behind `GET /metrics/events`."""

    router: Mapping[str, int]
    in_process_bus: Mapping[str, int]
    events: Mapping[tuple[str, str], int]
    lost_worker: bool


def task_counts(tasks: Sequence[Task]) -> dict[str, int]:
    """Count tasks by how they ended."""
    statuses = Counter(task["status"] for task in tasks)
    return {"total": len(tasks), "complete": statuses["complete"], "error": statuses["error"]}


def step_counts(tasks: Sequence[Task]) -> dict[str, int]:
    """Count the steps of all tasks by their state."""
    keys = {"total": "total_steps", "complete": "completed_steps", "error": "failed_steps", "pending": "pending_steps"}
    return {name: sum(task[key] for task in tasks) for name, key in keys.items()}


def read_figures(event_stats: Mapping[str, Any], metrics_text: str) -> Figures:
    """Read the documents of `GET /metrics/events` and `GET /metrics`."""
    return Figures(
        router=event_stats["router"],
        in_process_bus=event_stats["in_process_bus"],
        events=_events_published(metrics_text),
        lost_worker=any(worker["incarnation"] > 1 or not worker["alive"] for worker in event_stats["workers"]),
    )


def _events_published(metrics_text: str) -> dict[tuple[str, str], int]:
    return {
        (sample.labels["delivery_mode"], sample.labels["event_name"]): int(sample.value)
        for family in text_string_to_metric_families(metrics_text)
        for sample in family.samples
        if sample.name == EVENTS_PUBLISHED.prometheus_name
    }
