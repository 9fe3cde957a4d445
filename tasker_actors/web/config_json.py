"""The configuration as it is shown: every setting, and what the original's clients ask for, in their words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tasker_actors.release import release
from tasker_actors.settings import masked
from tasker_actors.web.health_json import WORKER_TYPE
from tasker_actors.web.runtime import Runtime


def config_json(runtime: Runtime) -> dict[str, Any]:
    """Show the configuration without secrets. There are no circuit breakers and no tokens, and it says so."""
    settings = runtime.settings
    key_count = 0 if settings.http.api_key is None else 1
    pool_size = runtime.pool.max_size
    namespaces = sorted({each.template.namespace_name for each in runtime.templates()})
    return {
        **masked(settings),
        "metadata": {
            "timestamp": datetime.now(UTC),
            "environment": settings.environment,
            "version": release(),
        },
        "worker_id": runtime.supervisor_id,
        "worker_type": WORKER_TYPE,
        "deployment_mode": "embedded" if settings.database.url is None else "external",
        "auth": {
            "enabled": key_count > 0,
            "verification_method": "none",
            "jwt_issuer": "",
            "jwt_audience": "",
            "api_key_header": "X-API-Key",
            "api_key_count": key_count,
            "strict_validation": False,
            "allowed_algorithms": [],
        },
        "circuit_breakers": {"enabled": False, "failure_threshold": 0, "timeout_seconds": 0, "success_threshold": 0},
        "database_pools": {"web_api_pool_size": pool_size, "web_api_max_connections": pool_size},
        "messaging": {
            "backend": "pgmq",
            "queues": [f"{name}_domain_events{end}" for name in namespaces for end in ("", "_dlq")],
        },
    }
