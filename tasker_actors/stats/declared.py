"""The label sets that are known before anything happens: they exist from the start, at 0 (SPEC 4.3).

Without them the first increase of a series would be invisible: Prometheus sees no rise in what begins at 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Final

from tasker_actors.actors.restart import RestartReason
from tasker_actors.steps.failures import ErrorType
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.metrics import CLOSED_LABELS, TABLE, Metric, MetricKind

if TYPE_CHECKING:
    from tasker_actors.steps.lease import StepPlan

LabelSets = Iterator[tuple[Metric, tuple[str, ...]]]

REFUSAL_CODES: Final = (
    "not_json", "nan_or_infinity", "nul_character", "lone_surrogate", "integer_out_of_range", "too_large",
    "schema_violation", "publisher_error", "invalid_namespace", "invalid_event_name", "refused_by_database",
    "bus_refused",
)  # fmt: skip
"""Every reason for which an event is not published."""

FAILURES: Final = (
    (ErrorType.HANDLER_ERROR.value, "true"),
    (ErrorType.RETRYABLE_ERROR.value, "true"),
    (ErrorType.PERMANENT_ERROR.value, "false"),
    (ErrorType.VALIDATION_ERROR.value, "false"),
    (ErrorType.TIMEOUT.value, "true"),
    ("worker_lost", "true"),
)
"""Error types that the runtime itself gives, each with whether such an attempt is tried again; handlers name others."""

SUPERVISOR: Final = "supervisor"
"""In the label `worker` of what the supervisor itself dropped."""

RESTART_REASONS: Final = ("exit", "signal", "hang", "memory", "age", "count", "escalated", "hup")
"""Why a slot's worker is started again."""

LINKS: Final = "links"
"""The buffer that stands for the links between processes, and the messages that they did not take, or lost."""

STDERR: Final = "stderr"
"""The one that stands for standard error, and lines of the log that it did not take."""

NOT_WRITTEN: Final = "closed_or_full"
"""The reason for that."""

_FULL: Final = ("too_many", "too_large")
_EXPORT_ENDS: Final = (*_FULL, "not_delivered", "stopped")
_EXPORTS: Final = tuple(product(("spans", "log_records"), _EXPORT_ENDS))
_PROCESS_DROPS: Final = (
    *_EXPORTS,
    *product((LINKS,), (*_FULL, "closed")),
    (STDERR, NOT_WRITTEN),
)
WORKER_DROPS: Final = (
    *product(("subscriber", "ffi", "publisher_hooks", "publications"), _FULL),
    ("mailboxes", "too_many"),
    *_PROCESS_DROPS,
)
"""Buffers of a worker, each with the reasons for which it lets something go."""

HTTP_REFUSALS: Final = (
    "unauthorized", "forbidden_host", "body_too_large", "headers_too_large", "bad_request", "overloaded",
    "too_many_connections", "idle_connection_closed", "header_timeout", "request_timeout", "answer_timeout",
)  # fmt: skip
"""Why the port refuses a request or ends a connection."""

_OF_STEPS = (
    metrics.STEP_EXECUTIONS,
    metrics.STEP_SUCCESSES,
    metrics.STEPS_CLAIMED,
    metrics.STEP_RESULTS_SUBMITTED,
)
_OF_TASKS = (metrics.TASK_REQUESTS, metrics.TASK_COMPLETIONS)
_RESULTS = sorted(CLOSED_LABELS["result"])
_MODES = sorted(CLOSED_LABELS["delivery_mode"])


def declared_label_sets(plans: Iterable[StepPlan]) -> LabelSets:
    """Name the label sets that follow from these steps and their declared events, and those that are always there."""
    plans = tuple(plans)
    for channel in sorted(CLOSED_LABELS["channel"]):
        yield metrics.EVENTS_DROPPED, (channel,)
    for namespace in sorted({plan.namespace for plan in plans}):
        yield from _of_namespace(namespace)
    for namespace, task_type in sorted({(plan.namespace, plan.task_type) for plan in plans}):
        for metric in _OF_TASKS:
            yield metric, (namespace, task_type)
        for error_type, _ in FAILURES:
            yield metrics.TASK_FAILURES, (namespace, task_type, error_type)
    for plan in plans:
        yield from _of_step(plan)


def slot_label_sets(slot: int) -> LabelSets:
    """Name the label sets of a slot that the supervisor itself counts."""
    for reason in RESTART_REASONS:
        yield metrics.WORKERS_RESTARTS, (str(slot), reason)


def actor_label_sets(actors: Iterable[str]) -> LabelSets:
    """Name the label sets of these actors, whatever their process and however many they are of a kind."""
    for actor, reason in product(sorted(set(actors)), RestartReason):
        yield metrics.ACTORS_RESTARTS, (actor, reason.value)


def supervisor_label_sets() -> LabelSets:
    """Name the label sets of what a supervisor itself refuses and drops, with telemetry or without."""
    for reason in HTTP_REFUSALS:
        yield metrics.HTTP_REFUSALS, (reason,)
    for metric in (metrics.SPANS_DROPPED, metrics.LOG_RECORDS_DROPPED):
        yield metric, (SUPERVISOR,)
    for buffer, reason in _PROCESS_DROPS:
        yield metrics.DROPS, (SUPERVISOR, buffer, reason)


def overflow_label_sets() -> LabelSets:
    """Name the label sets of the counter of overflows: every metric that can have too many."""
    for metric in TABLE:
        if metric.kind is not MetricKind.GAUGE and metric.counted_in is None and metric is not metrics.OVERFLOWS:
            yield metrics.OVERFLOWS, (metric.prometheus_name,)


def _of_namespace(namespace: str) -> LabelSets:
    for result in _RESULTS:
        for metric in (
            metrics.STEP_CLAIM_DURATION,
            metrics.STEP_EXECUTION_DURATION,
            metrics.STEP_RESULT_SUBMISSION_DURATION,
            metrics.STEP_WAIT_DURATION,
            metrics.SCHEDULE_FIRINGS,
        ):
            yield metric, (namespace, result)
    for mode, result in product(_MODES, _RESULTS):
        yield metrics.EVENT_PUBLISH_DURATION, (namespace, mode, result)
    for code in REFUSAL_CODES:
        yield metrics.EVENT_REFUSALS, (namespace, code)


def _of_step(plan: StepPlan) -> LabelSets:
    for metric in _OF_STEPS:
        yield metric, (plan.namespace, plan.name)
    for error_type, retryable in FAILURES:
        yield metrics.STEP_FAILURES, (plan.namespace, plan.name, error_type, retryable)
    for bound in plan.declarations:
        declared = bound.declaration
        labels = (plan.namespace, declared.name, declared.delivery_mode.value, bound.publisher_name)
        yield metrics.EVENTS_PUBLISHED, labels
        yield metrics.EVENTS_FAILED, labels
