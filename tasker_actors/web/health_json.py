"""How the supervisor is, as it is shown: what was looked at, by our names and by those of the original's services."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasker_actors.postgres.pool_figures import pool_figures
from tasker_actors.release import release
from tasker_actors.stats.figures import Figures
from tasker_actors.telemetry import metrics
from tasker_actors.web.runtime import HealthCheck, HealthReport, Runtime

WORKER_TYPE = "tasker_actors"
_NO_BREAKER = HealthCheck(
    "", healthy=True, message="there is none: requests say that the database is away", duration_ms=0
)
_OTHER_NAMES = {
    "supervisor": ("orchestration_system", "event_system"),
    "database": ("web_database", "orchestration_database"),
    "workers": ("command_processor", "queue_processing", "step_processing"),
}
"""The original's names for what is looked at here, those of its orchestration before those of its workers."""


def health_json(report: HealthReport, supervisor_id: str) -> dict[str, Any]:
    """Show what was looked at."""
    now = datetime.now(UTC)
    status = "healthy" if report.live and report.ready else "degraded" if report.live else "unhealthy"
    return {
        "status": status,
        "healthy": status == "healthy",
        "timestamp": now,
        "worker_id": supervisor_id,
        "checks": {check.name: _shown(check, now) for check in report.checks},
        "failing": [check.name for check in report.checks if not check.healthy],
    }


def detailed_health_json(
    report: HealthReport, runtime: Runtime, uptime_s: float, figures: Figures | None = None
) -> dict[str, Any]:
    """Show the same with what else is known; with figures also how full everything is."""
    document = health_json(report, runtime.supervisor_id)
    now, found = document["timestamp"], {check.name: check for check in report.checks}
    checks: dict[str, Any] = document["checks"]
    for ours, others in _OTHER_NAMES.items():
        for name in others:
            checks[name] = _shown(found[ours], now) if ours in found else _unknown(now)
    checks["circuit_breaker"] = checks["circuit_breakers"] = _shown(_NO_BREAKER, now)
    pool = pool_figures(runtime.pool)
    for name, message in _fill(pool, figures).items():
        checks[name] = _shown(HealthCheck(name, healthy=True, message=message, duration_ms=0), now)
    return {
        **document,
        "info": _info(report, runtime, pool),
        "system_info": _system_info(report, runtime, pool, uptime_s),
    }


def _fill(pool: Mapping[str, int | float], figures: Figures | None) -> dict[str, str]:
    """Say how full things are; nothing of it is a fault, and each bound has its own metric and alert."""
    if figures is None:
        return {}
    waiting = sum(figures.gauges.get(metrics.QUEUE_DEPTH, {}).values())
    busiest = max(figures.gauges.get(metrics.WORKERS_SATURATION, {}).values(), default=0.0)
    return {
        "pool_utilization": f"{pool['active_connections']} of {pool['max_connections']} connections are used",
        "queue_depth": f"{waiting:.0f} messages and steps wait",
        "channel_saturation": f"the busiest worker's executors are busy to {100 * busiest:.0f} %",
    }


def _shown(check: HealthCheck, now: datetime) -> dict[str, Any]:
    return {
        "status": "healthy" if check.healthy else "unhealthy",
        "healthy": check.healthy,
        "message": check.message,
        "duration_ms": round(check.duration_ms),
        "last_checked": now,
    }


def _unknown(now: datetime) -> dict[str, Any]:
    missing = HealthCheck("", healthy=False, message="it was not looked at in time", duration_ms=0)
    return {**_shown(missing, now), "status": "unknown"}


def _info(report: HealthReport, runtime: Runtime, pool: Mapping[str, int | float]) -> dict[str, Any]:
    return {
        "version": release(),
        "environment": runtime.settings.environment,
        "operational_state": "running" if report.ready else "not_ready",
        "web_database_pool_size": pool["max_connections"],
        "orchestration_database_pool_size": pool["max_connections"],
        "circuit_breaker_state": "closed",
        "pool_utilization": {"tasker_pool": pool, "pgmq_pool": pool},
    }


def _system_info(
    report: HealthReport, runtime: Runtime, pool: Mapping[str, int | float], uptime_s: float
) -> dict[str, Any]:
    workers = next((check.healthy for check in report.checks if check.name == "workers"), False)
    return {
        "version": release(),
        "environment": runtime.settings.environment,
        "uptime_seconds": int(uptime_s),
        "worker_type": WORKER_TYPE,
        "database_pool_size": pool["max_connections"],
        "command_processor_active": workers,
        "supported_namespaces": sorted({each.template.namespace_name for each in runtime.templates()}),
        "pool_utilization": {"tasker_pool": pool, "pgmq_pool": pool},
    }
