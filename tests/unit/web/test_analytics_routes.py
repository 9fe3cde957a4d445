"""What the figures of the newest tasks are shown as."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tasker_actors.postgres.analytics import Bottlenecks, Performance
from tasker_actors.web.analytics_routes import bottlenecks_json, performance_json
from tasker_actors.web.analytics_views import BottleneckView, PerformanceView

NOW = datetime(2025, 12, 1, 12, tzinfo=UTC)


def performance(since: datetime, **figures: Any) -> dict[str, Any]:
    nothing = {
        "total_tasks": 0, "active_tasks": 0, "completed_tasks": 0, "failed_tasks": 0, "average_task_duration": 0.0,
        "completed_steps": 0, "average_step_duration": 0.0,
    }  # fmt: skip
    found = performance_json(Performance(since=since, **{**nothing, **figures}), NOW)
    PerformanceView.model_validate(found)
    return found


def step(**figures: Any) -> dict[str, Any]:
    return {
        "namespace_name": "shop", "task_name": "order", "version": "1.0.0", "step_name": "charge",
        "average_duration_seconds": 1.0, "max_duration_seconds": 2.0, "execution_count": 10, "error_count": 0,
        "last_executed_at": NOW, **figures,
    }  # fmt: skip


def test_rates_are_by_the_hour_of_the_period() -> None:
    found = performance(NOW - timedelta(hours=2), total_tasks=10, completed_tasks=8, failed_tasks=1, completed_steps=30)
    assert (found["tasks_per_hour"], found["steps_per_hour"]) == (4, 15)
    assert (found["completion_rate"], found["error_rate"], found["system_health_score"]) == (0.8, 0.1, 0.9)


def test_where_there_is_nothing_all_is_well() -> None:
    found = performance(NOW)
    assert (found["completion_rate"], found["error_rate"], found["system_health_score"]) == (0.0, 0.0, 1.0)


def test_what_stands_out_is_said() -> None:
    steps = [step(average_duration_seconds=45.0), step(step_name="ship", error_count=3), step(step_name="notify")]
    states = {"in_progress": 2, "error": 1}
    found = bottlenecks_json(Bottlenecks(steps, [], states, {"complete": 4}), 0.9)
    BottleneckView.model_validate(found)
    fails, slow, full = found["recommendations"]
    assert "step ship fails in 30 %" in fails
    assert "step charge takes 45 s" in slow
    assert "connections" in full
    counts = found["resource_utilization"]["system_health"]
    assert (counts["steps_in_process_tasks"], counts["error_tasks"], counts["total_tasks"]) == (2, 1, 3)
    assert (counts["complete_steps"], counts["total_steps"]) == (4, 4)


def test_nothing_is_said_where_nothing_stands_out() -> None:
    assert bottlenecks_json(Bottlenecks([step()], [], {}, {}), 0.1)["recommendations"] == []
    assert bottlenecks_json(Bottlenecks([], [], {}, {}), 0.0)["recommendations"] == []
