"""`/v1/analytics`: how long things take, and what takes longest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from tasker_actors.postgres import analytics
from tasker_actors.postgres.analytics import Bottlenecks, Performance
from tasker_actors.postgres.pool_figures import pool_figures
from tasker_actors.web.analytics_views import STEP_STATES, TASK_STATES, BottleneckView, PerformanceView
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.openapi import answers
from tasker_actors.web.runtime import Runtime
from tasker_actors.workflow.request_model import ApiModel

_HOURS_OF_TEN_YEARS = 87_660
_MANY_ERRORS = 0.2
_LONG_S = 30.0
_FULL = 0.8


class PerformanceQuery(ApiModel):
    """Which period to look at."""

    hours: Annotated[int, Field(ge=0, le=_HOURS_OF_TEN_YEARS, description="How far back; 0: everything.")] = 24


class BottleneckQuery(ApiModel):
    """What to look for."""

    limit: Annotated[int, Field(ge=1, le=100, description="Most steps, and most templates.")] = 10
    min_executions: Annotated[int, Field(ge=1, le=1_000_000, description="What ran less often is left out.")] = 5


def analytics_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/analytics", tags=["analytics"])

    @router.get("/performance", responses=answers(200, PerformanceView, 422))
    def get_performance(query: Annotated[PerformanceQuery, Query()]) -> JsonResponse:
        """Return how the tasks of a period went, the newest 20,000 at most."""
        now = datetime.now(UTC)
        hours = query.hours or _HOURS_OF_TEN_YEARS
        return JsonResponse(performance_json(analytics.performance(runtime.pool, now - timedelta(hours=hours)), now))

    @router.get("/bottlenecks", responses=answers(200, BottleneckView, 422))
    def get_bottlenecks(query: Annotated[BottleneckQuery, Query()]) -> JsonResponse:
        """Return which steps and templates take longest, by the newest 20,000 tasks."""
        found = analytics.bottlenecks(runtime.pool, query.limit, query.min_executions)
        return JsonResponse(bottlenecks_json(found, pool_figures(runtime.pool)["utilization_percent"] / 100))

    return router


def performance_json(found: Performance, now: datetime) -> dict[str, Any]:
    """Show how tasks went; what is said by the hour is so since the first of them could be created."""
    hours = max((now - found.since).total_seconds() / 3600, 1 / 3600)
    return {
        "total_tasks": found.total_tasks,
        "active_tasks": found.active_tasks,
        "completed_tasks": found.completed_tasks,
        "failed_tasks": found.failed_tasks,
        "completion_rate": _share(found.completed_tasks, found.total_tasks),
        "error_rate": _share(found.failed_tasks, found.total_tasks),
        "average_task_duration_seconds": round(found.average_task_duration, 6),
        "average_step_duration_seconds": round(found.average_step_duration, 6),
        "tasks_per_hour": round(found.completed_tasks / hours),
        "steps_per_hour": round(found.completed_steps / hours),
        "system_health_score": round(1 - _share(found.failed_tasks, found.total_tasks), 4),
        "analysis_period_start": found.since,
        "calculated_at": now,
    }


def bottlenecks_json(found: Bottlenecks, pool_utilization: float) -> dict[str, Any]:
    """Show what takes longest, and what could be done about it."""
    steps, tasks = ([_with_rate(row) for row in rows] for rows in (found.slow_steps, found.slow_tasks))
    return {
        "slow_steps": steps,
        "slow_tasks": tasks,
        "resource_utilization": {
            "database_pool_utilization": round(pool_utilization, 4),
            "system_health": _system_counts(found),
        },
        "recommendations": list(_recommendations(steps, pool_utilization)),
    }


def _recommendations(steps: list[dict[str, Any]], pool_utilization: float) -> list[str]:
    """Say what stands out: steps that often fail, the slowest one if it is slow, a pool that is nearly used up."""
    said = [
        f"{_name(step)} fails in {100 * step['error_rate']:.0f} % of its attempts: look at its errors and retries"
        for step in steps
        if step["error_rate"] > _MANY_ERRORS
    ]
    if steps and steps[0]["average_duration_seconds"] > _LONG_S:
        said.append(
            f"{_name(steps[0])} takes {steps[0]['average_duration_seconds']:.0f} s: divide it, or make it faster"
        )
    if pool_utilization > _FULL:
        said.append("requests use nearly all connections to the database: ask less often, or with filters")
    return said


def _name(step: dict[str, Any]) -> str:
    return f"{step['namespace_name']}/{step['task_name']}@{step['version']} step {step['step_name']}"


def _system_counts(found: Bottlenecks) -> dict[str, int]:
    tasks = {"steps_in_process" if state == "in_progress" else state: n for state, n in found.task_states.items()}
    return {
        **{f"{state}_tasks": tasks.get(state, 0) for state in TASK_STATES},
        "total_tasks": sum(tasks.values()),
        **{f"{state}_steps": found.step_states.get(state, 0) for state in STEP_STATES},
        "total_steps": sum(found.step_states.values()),
    }


def _with_rate(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "error_rate": _share(row["error_count"], row["execution_count"])}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
