"""What clients get to see of templates, workers, health and configuration. Names and types include the original's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict

from tasker_actors.web.views import ErrorBody, View
from tasker_actors.workflow.step_type import StepType


class TemplateEventView(View):
    """An event that a step declares."""

    name: str
    delivery_mode: str
    condition: str


class TemplateStepView(View):
    """A step of a template. `default_max_attempts` is `max_attempts` under the original's name."""

    name: str
    description: str | None
    type: StepType
    handler: str
    dependencies: list[str]
    max_attempts: int
    default_max_attempts: int
    default_retryable: bool
    result_schema: dict[str, Any] | None
    publishes_events: list[TemplateEventView]


class TemplateView(View):
    """A template that tasks can be created from."""

    namespace: str
    name: str
    version: str
    description: str | None
    input_schema: dict[str, Any] | None
    step_count: int
    steps: list[TemplateStepView]


class TemplateDetail(TemplateView):
    """A template with what it says beside its steps, by the keys of a template file."""

    configuration: dict[str, Any]


class NamespaceView(View):
    """A namespace and how many templates it has, each version counted."""

    name: str
    description: str | None
    template_count: int


class TemplateList(View):
    """Every version of every template of this supervisor; `total_count` counts them without the filter."""

    namespaces: list[NamespaceView]
    templates: list[TemplateView]
    total_count: int


class WorkerView(View):
    """A worker of any supervisor on this database."""

    slot: int
    worker_id: str
    incarnation: int
    pid: int | None
    alive: bool
    state: str
    in_flight: int
    started_at: datetime
    restarts: int
    last_reason: str | None
    host: str
    supervisor_id: str
    heartbeat_at: datetime
    ended_at: datetime | None


class WorkerList(View):
    """Workers that are alive, and those that ended in the last 10 minutes."""

    workers: list[WorkerView]


class HealthCheckView(View):
    """One thing that was looked at; `status` is healthy, unhealthy or unknown."""

    status: str
    healthy: bool
    message: str
    duration_ms: int
    last_checked: datetime


class PoolView(View):
    """The connections that requests are answered with, and how long they waited for one."""

    active_connections: int
    idle_connections: int
    max_connections: int
    utilization_percent: float
    total_acquires: int
    slow_acquires: int
    acquire_errors: int
    average_acquire_time_ms: float
    max_acquire_time_ms: float


class PoolsView(View):
    """The pool, once for each of the two that the original has."""

    tasker_pool: PoolView
    pgmq_pool: PoolView


class HealthInfo(View):
    """What is known of the supervisor without looking."""

    version: str
    environment: str
    operational_state: str
    web_database_pool_size: int
    orchestration_database_pool_size: int
    circuit_breaker_state: str
    pool_utilization: PoolsView


class SystemInfo(View):
    """The same as the original's workers say it."""

    version: str
    environment: str
    uptime_seconds: int
    worker_type: str
    database_pool_size: int
    command_processor_active: bool
    supported_namespaces: list[str]
    pool_utilization: PoolsView


class HealthView(View):
    """How the supervisor is, with each check by its name; `failing` names those that are not healthy."""

    status: str
    healthy: bool
    timestamp: datetime
    worker_id: str
    checks: dict[str, HealthCheckView]
    failing: list[str]


class HealthDetail(HealthView):
    """The same with what else is known. The checks have the original's names beside ours."""

    info: HealthInfo
    system_info: SystemInfo


class UnhealthyView(HealthView):
    """The same where it is not well enough for what was asked."""

    error: ErrorBody


class UnhealthyDetail(HealthDetail):
    """The same with all that is known."""

    error: ErrorBody


class ConfigMetadata(View):
    """Of what the configuration is."""

    timestamp: datetime
    environment: str
    version: str


class AuthConfig(View):
    """How requests are let in: by a key, or only from this machine."""

    enabled: bool
    verification_method: str
    jwt_issuer: str
    jwt_audience: str
    api_key_header: str
    api_key_count: int
    strict_validation: bool
    allowed_algorithms: list[str]


class CircuitBreakerConfig(View):
    """There are no circuit breakers: requests say at once that the database is away."""

    enabled: bool
    failure_threshold: int
    timeout_seconds: int
    success_threshold: int


class DatabasePoolConfig(View):
    """How many connections requests are answered with."""

    web_api_pool_size: int
    web_api_max_connections: int


class MessagingConfig(View):
    """Where domain events go."""

    backend: str
    queues: list[str]


class ConfigView(View):
    """The configuration in the original's words; beside it every section of the settings, secrets masked."""

    model_config = ConfigDict(extra="allow")

    metadata: ConfigMetadata
    worker_id: str
    worker_type: str
    deployment_mode: str
    auth: AuthConfig
    circuit_breakers: CircuitBreakerConfig
    database_pools: DatabasePoolConfig
    messaging: MessagingConfig


class RouterStats(View):
    """What the event router has counted."""

    total_routed: int
    durable_routed: int
    fast_routed: int
    broadcast_routed: int
    fast_delivery_errors: int
    routing_errors: int


class BusStats(View):
    """What the in-process bus has counted."""

    total_events_dispatched: int
    rust_handler_dispatches: int
    ffi_channel_dispatches: int
    rust_handler_errors: int
    subscriber_drops: int
    ffi_channel_drops: int
    rust_subscriber_patterns: int
    rust_handler_count: int
    ffi_subscriber_count: int


class WorkerEventStats(View):
    """The same of one slot."""

    slot: int
    worker_id: str
    incarnation: int
    alive: bool
    router: RouterStats
    in_process_bus: BusStats


class EventStats(View):
    """The counters of domain events, summed over all slots and incarnations, and by slot."""

    router: RouterStats
    in_process_bus: BusStats
    captured_at: datetime
    worker_id: str
    workers: list[WorkerEventStats]
