"""What of tasker-py has no counterpart here, and what an import of it says."""

from __future__ import annotations

from typing import NoReturn

_OWN_WORKER = (
    "BootstrapConfig", "BootstrapResult", "ComponentHealth", "EventBridge", "EventNames", "EventPoller",
    "FfiDispatchMetrics", "FfiStepEvent", "HandlerDiscovery", "HealthCheck", "InProcessDomainEventPoller",
    "PublisherRegistry", "ResultStatus", "StarvationWarning", "StepError", "StepExecutionError",
    "StepExecutionResult", "StepExecutionSubscriber", "SubscriberRegistry", "TemplateParser", "TemplatePath",
    "Worker", "WorkerConfig", "WorkerMetrics", "WorkerState", "WorkerStatus", "bootstrap_worker",
    "check_starvation_warnings", "cleanup_timeouts", "complete_step_event", "get_ffi_dispatch_metrics",
    "get_health_check", "get_metrics", "get_rust_version", "get_worker_config", "get_worker_status", "health_check",
    "is_worker_running", "poll_in_process_events", "poll_step_events", "stop_worker",
    "transition_to_graceful_shutdown",
)  # fmt: skip

_OWN_ERRORS = (
    "ConversionError", "FFIError", "WorkerAlreadyRunningError", "WorkerBootstrapError", "WorkerNotInitializedError",
)  # fmt: skip

_OWN_CLIENT = (
    "ClientHealthResponse", "ClientPaginationInfo", "ClientStepAuditResponse", "ClientStepReadiness",
    "ClientStepResponse", "ClientTaskListResponse", "ClientTaskResponse", "TaskerClient",
)  # fmt: skip

GUIDANCE = {
    **dict.fromkeys(
        _OWN_WORKER, "belongs to tasker-py's own worker; here `tasker-actors run` runs what modules define"
    ),
    **dict.fromkeys(
        _OWN_ERRORS,
        "is raised by tasker-py's own worker alone; nothing raises it here, and what is raised is a TaskerError",
    ),
    **dict.fromkeys(
        _OWN_CLIENT,
        "belongs to tasker-py's own client; here tasker_actors.TaskerClient(url) asks a supervisor and has answers of"
        " its own, and context.start_task starts a task from a step",
    ),
}
"""Names of tasker-py that only its worker or its client has a use for, and what an import of each says."""


def refuse(name: str, module: str) -> NoReturn:
    """Raise for a name that a module does not have: ImportError with what to do for one of tasker-py's own."""
    guidance = GUIDANCE.get(name)
    if guidance is not None:
        # No AttributeError: `from tasker_core import …` would replace its message by its own.
        raise ImportError(f"{module}.{name} {guidance}")
    msg = f"module {module!r} has no attribute {name!r}"
    raise AttributeError(msg)
