"""Names every metric once: instrument, kind, unit, labels, help (SPEC 4.3).

Code counts with the constants of this module, never with strings. The Prometheus name follows from the instrument by
`Metric.prometheus_name`, so that scrape, OTLP and README cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DURATION_BOUNDS_MS: Final = (
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0,
)  # fmt: skip
"""Upper bounds (inclusive) of every histogram's buckets, in ms; one more bucket holds what is above the last."""

LABEL_SETS_PER_METRIC: Final = 2000
"""Label sets a metric may have beside those that templates announce; what comes after them is counted in its overflow
series (HAZARDS 19). The default of a setting.
"""

MAX_EXEMPLARS: Final = 500
"""Exemplars that a worker keeps between two heartbeats; the default of a setting."""

CLOSED_LABELS: Final[Mapping[str, frozenset[str]]] = {
    "delivery_mode": frozenset({"durable", "fast", "broadcast"}),
    "channel": frozenset({"subscriber", "ffi"}),
    "retryable": frozenset({"true", "false"}),
    "result": frozenset({"success", "failure"}),
}
"""Labels with few possible values: an overflow series keeps them, so that it stays exact by each of them."""


class MetricKind(StrEnum):
    """What the figures of a metric do: only rise, move freely, or count observations in buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One row of the table; compared by identity.

    `unit` is empty, `ms` or `s`. `counted_in` is set for a part that is not exported itself but added to another
    counter with the same labels.
    """

    instrument: str
    kind: MetricKind
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    counted_in: Metric | None = None

    @property
    def prometheus_name(self) -> str:
        """Instrument with underscores, then the unit in words, then `_total` once for a counter (HAZARDS 22)."""
        name = self.instrument.replace(".", "_")
        if self.unit:
            name += "_" + _UNIT_WORDS[self.unit]
        if self.kind is MetricKind.COUNTER:
            name = name.removesuffix("_total") + "_total"
        return name

    @property
    def worker_labels(self) -> tuple[str, ...]:
        """Labels as a worker counts them: without `worker`, which the supervisor adds from the slot."""
        return tuple(label for label in self.labels if label != "worker")

    def with_worker(self, labels: tuple[str, ...], slot: int) -> tuple[str, ...]:
        """Label values with the slot at the place of `worker`; unchanged for a metric without that label."""
        if "worker" not in self.labels:
            return labels
        position = self.labels.index("worker")
        return (*labels[:position], str(slot), *labels[position:])


_UNIT_WORDS: Final = {"ms": "milliseconds", "s": "seconds"}
_EVENT: Final = ("namespace", "event_name", "delivery_mode", "publisher")
_TASK: Final = ("namespace", "task_type")
_STEP: Final = ("namespace", "step_name")
_TIMED: Final = ("namespace", "result")


def _counter(instrument: str, labels: tuple[str, ...], text: str, *, counted_in: Metric | None = None) -> Metric:
    return Metric(instrument, MetricKind.COUNTER, labels, text, counted_in=counted_in)


def _gauge(instrument: str, labels: tuple[str, ...], text: str, *, unit: str = "") -> Metric:
    return Metric(instrument, MetricKind.GAUGE, labels, text, unit)


def _duration(instrument: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(instrument, MetricKind.HISTOGRAM, labels, text, "ms")


EVENTS_PUBLISHED: Final = _counter(
    "tasker.domain_events.published.total", _EVENT, "Domain events committed (durable, broadcast) or handed over (fast)"
)
EVENTS_FAILED: Final = _counter(
    "tasker.domain_events.failed.total", _EVENT, "Domain events that could not be published"
)
EVENTS_REFUSED_BY_BUS: Final = _counter(
    "tasker.domain_events.refused_by_bus",
    _EVENT,
    "Fast domain events that the bus refused after the commit",
    counted_in=EVENTS_FAILED,
)
EVENT_REFUSALS: Final = _counter(
    "tasker.domain_events.refusals.total", ("namespace", "error_type"), "Refused publications by reason"
)
EVENTS_DROPPED: Final = _counter(
    "tasker.domain_events.dropped.total", ("channel",), "Deliveries dropped because a buffer was full"
)
EVENT_PUBLISH_DURATION: Final = _duration(
    "tasker.domain_events.publish.duration",
    ("namespace", "delivery_mode", "result"),
    "Time from a step's result to the publication of its event",
)

ROUTER_DURABLE_ROUTED: Final = _counter("router.durable_routed", ("worker",), "Durable events committed")
ROUTER_FAST_ROUTED: Final = _counter("router.fast_routed", ("worker",), "Fast events handed to the bus")
ROUTER_BROADCAST_ROUTED: Final = _counter("router.broadcast_routed", ("worker",), "Broadcast events committed")
ROUTER_ROUTED: Final = _counter("router.routed", ("worker",), "Events routed, whatever came of them")
ROUTER_FAST_DELIVERY_ERRORS: Final = _counter(
    "router.fast_delivery_errors", ("worker",), "Fast and broadcast events that the bus refused"
)
ROUTER_ROUTING_ERRORS: Final = _counter("router.routing_errors", ("worker",), "Publications lost")

BUS_EVENTS_DISPATCHED: Final = _counter("in_process_bus.events_dispatched", ("worker",), "Events the bus took")
BUS_HANDLER_DISPATCHES: Final = _counter(
    "in_process_bus.rust_handler_dispatches", ("worker",), "Events that matched at least one Python subscriber"
)
BUS_HANDLER_ERRORS: Final = _counter(
    "in_process_bus.rust_handler_errors",
    ("worker",),
    "Deliveries to a subscriber, native ones too, that failed or timed out",
)
BUS_SUBSCRIBER_DROPS: Final = _counter(
    "in_process_bus.subscriber_drops", ("worker",), "Deliveries dropped from a full subscriber buffer"
)
BUS_FFI_DISPATCHES: Final = _counter(
    "in_process_bus.ffi_channel_dispatches", ("worker",), "Events the foreign channel took"
)
BUS_FFI_DROPS: Final = _counter("in_process_bus.ffi_channel_drops", ("worker",), "Events the foreign channel lost")

TASK_REQUESTS: Final = _counter("tasker.tasks.requests.total", _TASK, "Tasks created")
TASK_COMPLETIONS: Final = _counter("tasker.tasks.completions.total", _TASK, "Tasks completed")
TASK_FAILURES: Final = _counter("tasker.tasks.failures.total", (*_TASK, "error_type"), "Tasks that failed for good")

SCHEDULE_FIRINGS: Final = _counter(
    "tasker.schedules.firings.total", _TIMED, "Firings of schedules: tasks created by them, and failures to create any"
)

STEP_EXECUTIONS: Final = _counter(
    "tasker.steps.executions.total",
    _STEP,
    "Attempts that ended: with a result that was committed, or charged to their worker's death",
)
STEP_SUCCESSES: Final = _counter("tasker.steps.successes.total", _STEP, "Attempts that succeeded")
STEP_FAILURES: Final = _counter(
    "tasker.steps.failures.total", (*_STEP, "error_type", "retryable"), "Attempts that failed"
)
STEPS_CLAIMED: Final = _counter("tasker.steps.claimed.total", _STEP, "Steps claimed")
STEP_RESULTS_SUBMITTED: Final = _counter("tasker.steps.results_submitted.total", _STEP, "Step results committed")

STEP_EXECUTION_DURATION: Final = _duration("tasker.step.execution.duration", _TIMED, "Time in a step's handler")
STEP_CLAIM_DURATION: Final = _duration(
    "tasker.step.claim.duration",
    _TIMED,
    "Time of a claim of steps, in each namespace that it found some of or failed for",
)
STEP_RESULT_SUBMISSION_DURATION: Final = _duration(
    "tasker.step_result.submission.duration", _TIMED, "Time from a step's result to its commit"
)
STEP_WAIT_DURATION: Final = _duration(
    "tasker.step.wait.duration", _TIMED, "Time from when a step could run to the start of its first attempt"
)

QUEUE_DEPTH: Final = _gauge("tasker.queue.depth", ("namespace", "queue"), "Messages in a queue")
QUEUE_OLDEST_MESSAGE_AGE: Final = _gauge(
    "tasker.queue.oldest_message.age", ("namespace", "queue"), "Age of a queue's oldest message", unit="s"
)
STEPS_ACTIVE: Final = _gauge("tasker.steps.active_executions", ("worker",), "Handlers that are running")
WORKERS_ALIVE: Final = _gauge("tasker.workers.alive", ("worker",), "1 for each slot with a live worker")
WORKERS_SATURATION: Final = _gauge("tasker.workers.saturation", ("worker",), "Busy share of a worker's executors")
WORKERS_RESTARTS: Final = _counter("tasker.workers.restarts.total", ("worker", "reason"), "Workers restarted")
ACTORS_RESTARTS: Final = _counter("tasker.actors.restarts.total", ("actor", "reason"), "Actors restarted")
ACTORS_MAILBOX_DEPTH: Final = _gauge(
    "tasker.actors.mailbox.depth", ("worker", "actor"), "Messages waiting in a mailbox"
)
SPANS_DROPPED: Final = _counter(
    "tasker.telemetry.spans_dropped.total", ("worker",), "Spans dropped because they could not be exported in time"
)
LOG_RECORDS_DROPPED: Final = _counter(
    "tasker.telemetry.log_records_dropped.total",
    ("worker",),
    "Log records that were to be exported and dropped, because there were too many or not in time",
)
DROPS: Final = _counter(
    "tasker.drops.total", ("worker", "buffer", "reason"), "What bounded buffers let go, by buffer and reason"
)
HTTP_REFUSALS: Final = _counter(
    "tasker.http.refusals.total", ("reason",), "HTTP requests and connections that a bound or a rule of access refused"
)
OVERFLOWS: Final = _counter(
    "tasker.telemetry.overflows.total",
    ("metric",),
    "Counts and observations in the overflow series of a metric that has too many label sets",
)

TABLE: Final[tuple[Metric, ...]] = tuple(row for row in tuple(globals().values()) if isinstance(row, Metric))
"""Every metric, in the order of this file."""

BY_INSTRUMENT: Final[Mapping[str, Metric]] = {metric.instrument: metric for metric in TABLE}
"""The table by instrument name, for figures that come from another process."""
