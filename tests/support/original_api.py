"""The public API types of the original (tasker-core), as its clients read them: names, JSON types, what may be null.

Written down by reading `crates/tasker-shared/src/types/api`, the models behind it, and tasker-py's response classes. A
field is always there in our answers, null only where the table has a question mark: nothing is left to a default.

Kinds: text, uuid, time (RFC 3339 with its zone), naive (UTC without one: the original's clients read no other form
there), int, float, bool, any, object; `[X]` is a list of X, and a name in capitals another table of this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Fields = Mapping[str, str]

_POOL = {
    "active_connections": "int", "idle_connections": "int", "max_connections": "int", "utilization_percent": "float",
    "total_acquires": "int", "slow_acquires": "int", "acquire_errors": "int", "average_acquire_time_ms": "float",
    "max_acquire_time_ms": "float",
}  # fmt: skip
_READINESS = ("web_database", "orchestration_database", "circuit_breaker", "orchestration_system", "command_processor")
_DETAILS = (*_READINESS, "pool_utilization", "queue_depth", "channel_saturation")
_WORKER_READINESS = ("database", "command_processor", "queue_processing")
_WORKER_DETAILS = (*_WORKER_READINESS, "event_system", "step_processing", "circuit_breakers")
_AUTH = {
    "enabled": "bool", "verification_method": "text", "jwt_issuer": "text", "jwt_audience": "text",
    "api_key_header": "text", "api_key_count": "int", "strict_validation": "bool", "allowed_algorithms": "[text]",
}  # fmt: skip
_SLOW = {
    "namespace_name": "text", "task_name": "text", "version": "text", "average_duration_seconds": "float",
    "max_duration_seconds": "float", "execution_count": "int", "error_count": "int", "error_rate": "float",
    "last_executed_at": "time?",
}  # fmt: skip
_OF_TASK = {
    "task_uuid": "uuid", "name": "text", "namespace": "text", "version": "text", "status": "text",
    "created_at": "time", "updated_at": "time", "completed_at": "time?", "initiator": "text", "source_system": "text",
    "reason": "text", "correlation_id": "uuid", "total_steps": "int", "pending_steps": "int",
    "in_progress_steps": "int", "completed_steps": "int", "failed_steps": "int", "completion_percentage": "float",
    "health_status": "text", "execution_status": "text", "recommended_action": "text",
}  # fmt: skip
_OF_STEP = {
    "name": "text", "current_state": "text", "dependencies_satisfied": "bool", "retry_eligible": "bool",
    "ready_for_execution": "bool", "total_parents": "int", "completed_parents": "int", "attempts": "int",
    "max_attempts": "int",
}  # fmt: skip
_TASK_STATES = (
    "pending", "initializing", "enqueuing_steps", "steps_in_process", "evaluating_results", "waiting_for_dependencies",
    "waiting_for_retry", "blocked_by_failures", "complete", "error", "cancelled", "resolved_manually", "total",
)  # fmt: skip
_STEP_STATES = (
    "pending", "enqueued", "in_progress", "enqueued_for_orchestration", "enqueued_as_error_for_orchestration",
    "waiting_for_retry", "complete", "error", "cancelled", "resolved_manually", "total",
)  # fmt: skip

TYPES: Mapping[str, Fields] = {
    "TASK": {
        **_OF_TASK, "context": "object", "priority": "int?", "tags": "[text]?", "parent_correlation_id": "uuid?",
        "ready_steps": "int", "steps": "[STEP_READINESS]",
    },
    "STEP_READINESS": {
        **_OF_STEP, "workflow_step_uuid": "uuid", "task_uuid": "uuid", "named_step_uuid": "uuid",
        "last_failure_at": "naive?", "next_retry_at": "naive?", "backoff_request_seconds": "int?",
        "last_attempted_at": "naive?",
    },
    "TASK_LIST": {"tasks": "[TASK]", "pagination": "PAGINATION"},
    "PAGINATION": {
        "page": "int", "per_page": "int", "total_count": "int", "total_pages": "int", "has_next": "bool",
        "has_previous": "bool",
    },
    "STEP": {
        **_OF_STEP, "step_uuid": "uuid", "task_uuid": "uuid", "created_at": "time", "updated_at": "time",
        "completed_at": "time?", "results": "RESULTS?", "last_failure_at": "time?", "next_retry_at": "time?",
        "last_attempted_at": "time?",
    },
    "RESULTS": {
        "step_uuid": "uuid", "success": "bool", "result": "any", "metadata": "object", "status": "text", "error": "any",
    },
    "AUDIT": {
        "audit_uuid": "uuid", "workflow_step_uuid": "uuid", "transition_uuid": "uuid", "task_uuid": "uuid",
        "recorded_at": "time", "worker_uuid": "text?", "correlation_id": "uuid?", "success": "bool",
        "execution_time_ms": "int?", "result": "any", "step_name": "text", "from_state": "text?", "to_state": "text",
    },
    "SUMMARY": {
        "task": "SUMMARY_TASK", "template": "SUMMARY_TEMPLATE", "steps": "[SUMMARY_STEP]", "dlq": "SUMMARY_DLQ",
        "links": "LINKS",
    },
    "SUMMARY_TASK": _OF_TASK,
    "SUMMARY_TEMPLATE": {"steps": "[SUMMARY_TEMPLATE_STEP]"},
    "SUMMARY_TEMPLATE_STEP": {
        "name": "text", "step_type": "text", "handler": "text", "dependencies": "[text]", "retryable": "bool",
        "max_attempts": "int",
    },
    "SUMMARY_STEP": {
        "step_uuid": "uuid", "name": "text", "current_state": "text", "created_at": "time?", "completed_at": "time?",
        "last_attempted_at": "time?", "attempts": "int", "max_attempts": "int", "dependencies_satisfied": "bool",
        "retry_eligible": "bool", "error": "SUMMARY_ERROR?",
    },
    "SUMMARY_ERROR": {"error_type": "text?", "retryable": "bool", "status_code": "int?"},
    "SUMMARY_DLQ": {"in_dlq": "bool", "dlq_reason": "text?", "resolution_status": "text?"},
    "LINKS": {"task": "text", "steps": "text", "dlq": "text"},
    "DLQ_ENTRY": {
        "dlq_entry_uuid": "uuid", "task_uuid": "uuid", "original_state": "text", "dlq_reason": "text",
        "dlq_timestamp": "naive", "resolution_status": "text", "resolution_timestamp": "naive?",
        "resolution_notes": "text?", "resolved_by": "text?", "task_snapshot": "object", "metadata": "any",
        "created_at": "naive", "updated_at": "naive",
    },
    "DLQ_STATS": {
        "dlq_reason": "text", "total_entries": "int", "pending": "int", "manually_resolved": "int",
        "permanent_failures": "int", "cancelled": "int", "oldest_entry": "naive?", "newest_entry": "naive?",
        "avg_resolution_time_minutes": "float?",
    },
    "INVESTIGATION": {
        "dlq_entry_uuid": "uuid", "task_uuid": "uuid", "original_state": "text", "dlq_reason": "text",
        "dlq_timestamp": "naive", "minutes_in_dlq": "float", "namespace_name": "text?", "task_name": "text?",
        "current_state": "text?", "time_in_state_minutes": "int?", "priority_score": "float",
    },
    "STALENESS": {
        "task_uuid": "uuid", "namespace_name": "text?", "task_name": "text?", "current_state": "text",
        "time_in_state_minutes": "int", "task_age_minutes": "int", "staleness_threshold_minutes": "int",
        "health_status": "text", "priority": "int",
    },
    "INVESTIGATION_UPDATE": {"success": "bool", "message": "text", "dlq_entry_uuid": "uuid"},
    "TEMPLATE_LIST": {"namespaces": "[NAMESPACE]", "templates": "[TEMPLATE_SUMMARY]", "total_count": "int"},
    "NAMESPACE": {"name": "text", "description": "text?", "template_count": "int"},
    "TEMPLATE_SUMMARY": {
        "name": "text", "namespace": "text", "version": "text", "description": "text?", "step_count": "int",
    },
    "TEMPLATE": {
        "name": "text", "namespace": "text", "version": "text", "description": "text?", "configuration": "object?",
        "steps": "[STEP_DEFINITION]",
    },
    "STEP_DEFINITION": {
        "name": "text", "description": "text?", "default_retryable": "bool", "default_max_attempts": "int",
        "result_schema": "object?",
    },
    "HEALTH": {"healthy": "bool", "status": "text", "timestamp": "time", "worker_id": "text"},
    "READINESS": {
        "status": "text", "timestamp": "time", "checks": "READINESS_CHECKS", "info": "HEALTH_INFO", "worker_id": "text",
        "system_info": "SYSTEM_INFO",
    },
    "READINESS_CHECKS": dict.fromkeys((*_READINESS, *_WORKER_READINESS), "CHECK"),
    "DETAILED_HEALTH": {
        "status": "text", "timestamp": "time", "checks": "DETAILED_CHECKS", "info": "HEALTH_INFO", "worker_id": "text",
        "system_info": "SYSTEM_INFO",
    },
    "DETAILED_CHECKS": dict.fromkeys((*_DETAILS, *_WORKER_DETAILS), "CHECK"),
    "CHECK": {"status": "text", "message": "text?", "duration_ms": "int", "last_checked": "time"},
    "HEALTH_INFO": {
        "version": "text", "environment": "text", "operational_state": "text", "web_database_pool_size": "int",
        "orchestration_database_pool_size": "int", "circuit_breaker_state": "text", "pool_utilization": "POOLS?",
    },
    "SYSTEM_INFO": {
        "version": "text", "environment": "text", "uptime_seconds": "int", "worker_type": "text",
        "database_pool_size": "int", "command_processor_active": "bool", "supported_namespaces": "[text]",
        "pool_utilization": "POOLS?",
    },
    "POOLS": {"tasker_pool": "POOL", "pgmq_pool": "POOL"},
    "POOL": _POOL,
    "CONFIG": {
        "metadata": "CONFIG_METADATA", "auth": "AUTH", "circuit_breakers": "BREAKERS",
        "database_pools": "DATABASE_POOLS",
        "deployment_mode": "text", "messaging": "MESSAGING", "worker_id": "text", "worker_type": "text",
    },
    "CONFIG_METADATA": {"timestamp": "time", "environment": "text", "version": "text"},
    "AUTH": _AUTH,
    "BREAKERS": {
        "enabled": "bool", "failure_threshold": "int", "timeout_seconds": "int", "success_threshold": "int",
    },
    "DATABASE_POOLS": {"web_api_pool_size": "int", "web_api_max_connections": "int"},
    "MESSAGING": {"backend": "text", "queues": "[text]"},
    "PERFORMANCE": {
        "total_tasks": "int", "active_tasks": "int", "completed_tasks": "int", "failed_tasks": "int",
        "completion_rate": "float", "error_rate": "float", "average_task_duration_seconds": "float",
        "average_step_duration_seconds": "float", "tasks_per_hour": "int", "steps_per_hour": "int",
        "system_health_score": "float", "analysis_period_start": "time", "calculated_at": "time",
    },
    "BOTTLENECKS": {
        "slow_steps": "[SLOW_STEP]", "slow_tasks": "[SLOW_TASK]", "resource_utilization": "RESOURCES",
        "recommendations": "[text]",
    },
    "SLOW_STEP": {**_SLOW, "step_name": "text"},
    "SLOW_TASK": {**_SLOW, "average_step_count": "float"},
    "RESOURCES": {"database_pool_utilization": "float", "system_health": "SYSTEM_COUNTS"},
    "SYSTEM_COUNTS": dict.fromkeys(
        (*(f"{state}_tasks" for state in _TASK_STATES), *(f"{state}_steps" for state in _STEP_STATES)), "int"
    ),
    "ERROR": {"error": "ERROR_BODY"},
    "ERROR_BODY": {"code": "text", "message": "text"},
}  # fmt: skip

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAIVE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")
_TIME = re.compile(rf"{_NAIVE.pattern}(Z|[+-]\d\d:\d\d)")
_TEXTS = {"text": None, "uuid": _UUID, "naive": _NAIVE, "time": _TIME}


def holes(value: Any, kind: str, place: str = "") -> list[str]:
    """Return what is missing or of another type where a client of the original reads this kind."""
    return list(_holes(value, kind, place or kind))


def _holes(value: Any, kind: str, place: str) -> Iterator[str]:
    if kind.endswith("?"):
        if value is not None:
            yield from _holes(value, kind[:-1], place)
    elif kind.startswith("["):
        if not isinstance(value, list):
            yield f"{place} is no list: {value!r}"
            return
        for index, each in enumerate(value):
            yield from _holes(each, kind[1:-1], f"{place}[{index}]")
    elif kind in TYPES:
        if not isinstance(value, dict):
            yield f"{place} is no object: {value!r}"
            return
        for name, of_field in TYPES[kind].items():
            if name not in value:
                yield f"{place}.{name} is missing"
            else:
                yield from _holes(value[name], of_field, f"{place}.{name}")
    elif not _is_plain(value, kind):
        yield f"{place} is no {kind}: {value!r}"


def _is_plain(value: Any, kind: str) -> bool:
    match kind:
        case "any":
            return True
        case "object":
            return isinstance(value, dict)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            pattern = _TEXTS[kind]
            return isinstance(value, str) and (pattern is None or pattern.fullmatch(value) is not None)
