"""What of tasker-py has no counterpart here, and what an import of it says."""

from __future__ import annotations

from typing import NoReturn

OWN_WORKER = frozenset({
    "BootstrapConfig", "BootstrapResult", "EventBridge", "EventNames", "EventPoller", "FfiDispatchMetrics",
    "FfiStepEvent", "HandlerDiscovery", "InProcessDomainEventPoller", "PublisherRegistry", "StarvationWarning",
    "StepExecutionError", "StepExecutionResult", "StepExecutionSubscriber", "SubscriberRegistry", "TemplateParser",
    "TemplatePath", "Worker", "WorkerConfig", "WorkerMetrics", "WorkerState", "WorkerStatus", "bootstrap_worker",
    "check_starvation_warnings", "cleanup_timeouts", "complete_step_event", "get_ffi_dispatch_metrics",
    "get_health_check", "get_metrics", "get_worker_config", "get_worker_status", "is_worker_running",
    "poll_in_process_events", "poll_step_events", "stop_worker", "transition_to_graceful_shutdown",
})  # fmt: skip
"""Names of tasker-py that drive its own worker: here `tasker-actors run` does, and it finds what modules define."""


def refuse(name: str, module: str) -> NoReturn:
    """Raise for a name that a module does not have: ImportError with what to do for one of tasker-py's own worker."""
    if name in OWN_WORKER:
        # No AttributeError: `from tasker_core import …` would replace its message by its own.
        msg = f"{module}.{name} belongs to tasker-py's own worker; here `tasker-actors run` runs what modules define"
        raise ImportError(msg)
    msg = f"module {module!r} has no attribute {name!r}"
    raise AttributeError(msg)
