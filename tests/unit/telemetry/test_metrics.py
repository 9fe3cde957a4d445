"""The table of metrics, against SPEC 4.3."""

import re

import pytest

from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.metrics import BY_INSTRUMENT, CLOSED_LABELS, DURATION_BOUNDS_MS, TABLE, Metric, MetricKind

EVENT = "namespace, event_name, delivery_mode, publisher"
STEP = "namespace, step_name"
EXPECTED = [
    ("tasker.domain_events.published.total", "tasker_domain_events_published_total", EVENT),
    ("tasker.domain_events.failed.total", "tasker_domain_events_failed_total", EVENT),
    ("tasker.domain_events.refusals.total", "tasker_domain_events_refusals_total", "namespace, error_type"),
    ("tasker.domain_events.dropped.total", "tasker_domain_events_dropped_total", "channel"),
    (
        "tasker.domain_events.publish.duration",
        "tasker_domain_events_publish_duration_milliseconds",
        "namespace, delivery_mode, result",
    ),
    ("router.durable_routed", "router_durable_routed_total", "worker"),
    ("router.fast_routed", "router_fast_routed_total", "worker"),
    ("router.broadcast_routed", "router_broadcast_routed_total", "worker"),
    ("router.routed", "router_routed_total", "worker"),
    ("router.fast_delivery_errors", "router_fast_delivery_errors_total", "worker"),
    ("router.routing_errors", "router_routing_errors_total", "worker"),
    ("in_process_bus.events_dispatched", "in_process_bus_events_dispatched_total", "worker"),
    ("in_process_bus.rust_handler_dispatches", "in_process_bus_rust_handler_dispatches_total", "worker"),
    ("in_process_bus.rust_handler_errors", "in_process_bus_rust_handler_errors_total", "worker"),
    ("in_process_bus.subscriber_drops", "in_process_bus_subscriber_drops_total", "worker"),
    ("in_process_bus.ffi_channel_dispatches", "in_process_bus_ffi_channel_dispatches_total", "worker"),
    ("in_process_bus.ffi_channel_drops", "in_process_bus_ffi_channel_drops_total", "worker"),
    ("tasker.tasks.requests.total", "tasker_tasks_requests_total", "namespace, task_type"),
    ("tasker.tasks.completions.total", "tasker_tasks_completions_total", "namespace, task_type"),
    ("tasker.tasks.failures.total", "tasker_tasks_failures_total", "namespace, task_type, error_type"),
    ("tasker.steps.executions.total", "tasker_steps_executions_total", STEP),
    ("tasker.steps.successes.total", "tasker_steps_successes_total", STEP),
    ("tasker.steps.failures.total", "tasker_steps_failures_total", f"{STEP}, error_type, retryable"),
    ("tasker.steps.claimed.total", "tasker_steps_claimed_total", STEP),
    ("tasker.steps.results_submitted.total", "tasker_steps_results_submitted_total", STEP),
    ("tasker.step.execution.duration", "tasker_step_execution_duration_milliseconds", "namespace, result"),
    ("tasker.step.claim.duration", "tasker_step_claim_duration_milliseconds", "namespace, result"),
    (
        "tasker.step_result.submission.duration",
        "tasker_step_result_submission_duration_milliseconds",
        "namespace, result",
    ),
    ("tasker.step.wait.duration", "tasker_step_wait_duration_milliseconds", "namespace, result"),
    ("tasker.queue.depth", "tasker_queue_depth", "namespace, queue"),
    ("tasker.queue.oldest_message.age", "tasker_queue_oldest_message_age_seconds", "namespace, queue"),
    ("tasker.steps.active_executions", "tasker_steps_active_executions", "worker"),
    ("tasker.workers.alive", "tasker_workers_alive", "worker"),
    ("tasker.workers.saturation", "tasker_workers_saturation", "worker"),
    ("tasker.workers.restarts.total", "tasker_workers_restarts_total", "worker, reason"),
    ("tasker.actors.restarts.total", "tasker_actors_restarts_total", "actor, reason"),
    ("tasker.actors.mailbox.depth", "tasker_actors_mailbox_depth", "worker, actor"),
    ("tasker.telemetry.spans_dropped.total", "tasker_telemetry_spans_dropped_total", "worker"),
]
ADDED = {
    "tasker.drops.total",
    "tasker.http.refusals.total",
    "tasker.schedules.firings.total",
    "tasker.telemetry.log_records_dropped.total",
    "tasker.telemetry.overflows.total",
}
EXPORTED = [metric for metric in TABLE if metric.counted_in is None]


@pytest.mark.parametrize(("instrument", "prometheus", "labels"), EXPECTED)
def test_a_row_of_the_specification(instrument, prometheus, labels):
    metric = BY_INSTRUMENT[instrument]
    assert (metric.prometheus_name, ", ".join(metric.labels)) == (prometheus, labels)


def test_nothing_else_is_exported():
    assert {metric.instrument for metric in EXPORTED} == ADDED | {instrument for instrument, _, _ in EXPECTED}


def test_kinds_and_units_go_together():
    for metric in TABLE:
        assert (metric.kind is MetricKind.HISTOGRAM) == (metric.unit == "ms"), metric.instrument
    gauges = [metric.instrument for metric in TABLE if metric.kind is MetricKind.GAUGE]
    assert gauges == [
        "tasker.queue.depth",
        "tasker.queue.oldest_message.age",
        "tasker.steps.active_executions",
        "tasker.workers.alive",
        "tasker.workers.saturation",
        "tasker.actors.mailbox.depth",
    ]


def test_every_constant_is_in_the_table_once_under_a_name_of_its_own():
    constants = [value for value in vars(metrics).values() if isinstance(value, Metric)]
    assert constants == list(TABLE)
    assert len({metric.instrument for metric in TABLE}) == len(TABLE) == len(BY_INSTRUMENT)
    scraped = {metric.prometheus_name.removesuffix("_total") for metric in EXPORTED}
    assert len(scraped) == len(EXPORTED)


def test_names_labels_and_help_are_what_prometheus_accepts():
    for metric in TABLE:
        assert re.fullmatch(r"[a-z_]+", metric.prometheus_name)
        assert all(re.fullmatch(r"[a-z_]+", label) and label != "le" for label in metric.labels)
        assert metric.help


def test_no_id_is_a_label():
    assert not {label for metric in TABLE for label in metric.labels if label.endswith(("_id", "_uuid"))}


def test_bounds_rise_as_the_specification_has_them():
    assert DURATION_BOUNDS_MS == (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


def test_a_part_is_added_to_a_counter_with_the_same_labels():
    [part] = [metric for metric in TABLE if metric.counted_in is not None]
    assert part is metrics.EVENTS_REFUSED_BY_BUS
    assert part.counted_in is metrics.EVENTS_FAILED
    assert (part.kind, part.labels) == (part.counted_in.kind, part.counted_in.labels)


def test_the_supervisor_adds_the_worker_where_the_table_has_it():
    assert metrics.ACTORS_MAILBOX_DEPTH.worker_labels == ("actor",)
    assert metrics.ACTORS_MAILBOX_DEPTH.with_worker(("bus",), 3) == ("3", "bus")
    assert metrics.STEPS_ACTIVE.with_worker((), 0) == ("0",)
    assert metrics.ACTORS_RESTARTS.with_worker(("bus", "crash"), 3) == ("bus", "crash")


def test_closed_labels_exist():
    assert CLOSED_LABELS.keys() <= {label for metric in TABLE for label in metric.labels}
