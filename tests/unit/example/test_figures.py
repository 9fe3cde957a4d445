"""Counting tasks, steps and events from what the API answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tasker_actors.example.figures import read_figures, step_counts, task_counts
from tasker_actors.stats.book import StatsBook
from tasker_actors.stats.exposition import event_stats_document, prometheus_text
from tasker_actors.stats.figures import Figures
from tasker_actors.telemetry.metrics import EVENTS_FAILED, EVENTS_PUBLISHED


def task(status: str, *, complete: int, failed: int, pending: int) -> dict[str, Any]:
    return {
        "status": status,
        "total_steps": 4,
        "completed_steps": complete,
        "failed_steps": failed,
        "pending_steps": pending,
    }


def test_tasks_and_their_steps_are_counted_by_state() -> None:
    tasks = [
        task("complete", complete=4, failed=0, pending=0),
        task("error", complete=0, failed=1, pending=3),
        task("error", complete=2, failed=1, pending=1),
        task("cancelled", complete=1, failed=0, pending=0),
    ]

    assert task_counts(tasks) == {"total": 4, "complete": 1, "error": 2}
    assert step_counts(tasks) == {"total": 16, "complete": 7, "error": 2, "pending": 4}


def test_published_events_are_read_from_a_scrape_by_mode_and_name() -> None:
    figures = Figures()
    figures.counters[EVENTS_PUBLISHED] = {
        ("flights", "flight.departed", "durable", "default"): 458,
        ("flights", "flight.delayed", "broadcast", "flights.delay"): 125,
    }
    figures.counters[EVENTS_FAILED] = {("flights", "flight.departed", "durable", "default"): 3}

    read = read_figures(stats(), prometheus_text(figures).decode())

    assert read.events == {("durable", "flight.departed"): 458, ("broadcast", "flight.delayed"): 125}
    assert read.router["total_routed"] == 0
    assert read.in_process_bus["total_events_dispatched"] == 0
    assert not read.lost_worker


def test_a_worker_that_is_gone_or_was_replaced_is_noticed() -> None:
    first = {"incarnation": 1, "alive": True}

    assert not read_figures(stats(first), "").lost_worker
    assert read_figures(stats(first, {"incarnation": 2, "alive": True}), "").lost_worker
    assert read_figures(stats(first, {"incarnation": 1, "alive": False}), "").lost_worker


def stats(*workers: dict[str, Any]) -> dict[str, Any]:
    return event_stats_document(StatsBook(), "supervisor", datetime.now(UTC)) | {"workers": list(workers)}
