"""What every metric of SPEC 4.3 must say after the worked example, in which nothing went wrong but 472 flights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from support.figures import Figures, Labels, counting_sample

from tasker_actors.telemetry.metrics import STEP_CLAIM_DURATION, STEPS_CLAIMED, TABLE, MetricKind

WORKERS = {"0", "1"}
ACTORS = {"step_source", "event_router", "durable_publisher", "event_bus"}
ATTEMPTS = 930 + 3 * 458
"""Each flight is validated; three steps more follow for one that departed."""


def check_counts(figures: Figures) -> None:
    """Compare what was counted with the known numbers, and fail for a metric of the table that has no series."""
    exported = [metric for metric in TABLE if metric.counted_in is None]
    missing = [metric.instrument for metric in exported if not figures.get(counting_sample(metric))]
    assert missing == [], missing
    for metric in exported:
        if metric.kind is not MetricKind.GAUGE and metric is not STEP_CLAIM_DURATION:
            name = counting_sample(metric)
            counted = _without_zeros(figures[name])
            expected = _COUNTED.get(name, {})
            if metric is STEPS_CLAIMED:
                # On a busy machine a worker gives back what waits in it for long, and it is claimed once more.
                expected = {labels: max(least, counted.get(labels, 0)) for labels, least in expected.items()}
            assert counted == expected, f"{name}: {counted}"
    # How many steps a claim finds is a matter of luck, that all are claimed is not: see tasker_steps_claimed_total.
    assert 0 < sum(figures[counting_sample(STEP_CLAIM_DURATION)].values()) <= ATTEMPTS


def is_at_rest(figures: Figures) -> bool:
    """Whether the queues were looked at since the end, and no worker does anything."""
    busy = ("tasker_steps_active_executions", "tasker_workers_saturation", "tasker_actors_mailbox_depth")
    return figures.get("tasker_queue_depth") == _DEPTHS and not any(sum(figures[name].values()) for name in busy)


def check_gauges(figures: Figures) -> None:
    """Compare what there is at rest beside queues and zeros."""
    assert figures["tasker_queue_oldest_message_age_seconds"][_flights(queue="flights_domain_events")] > 0
    of_workers = {_labels(worker=worker) for worker in WORKERS}
    assert figures["tasker_workers_alive"] == dict.fromkeys(of_workers, 1)
    assert figures["tasker_steps_active_executions"].keys() == figures["tasker_workers_saturation"].keys() == of_workers
    mailboxes = {_labels(worker=worker, actor=actor) for worker in WORKERS for actor in ACTORS}
    assert mailboxes <= figures["tasker_actors_mailbox_depth"].keys()


def _without_zeros(series: Mapping[Labels, float]) -> Mapping[Labels, float]:
    """Add up the workers, and leave out what stayed at 0."""
    total: dict[Labels, float] = defaultdict(float)
    for labels, value in series.items():
        total[frozenset(label for label in labels if label[0] != "worker")] += value
    return {labels: value for labels, value in total.items() if value}


def _labels(**labels: str) -> Labels:
    return frozenset(labels.items())


def _flights(**labels: str) -> Labels:
    return _labels(namespace="flights", **labels)


def _published(event_name: str, delivery_mode: str, publisher: str = "default") -> Labels:
    return _flights(event_name=event_name, delivery_mode=delivery_mode, publisher=publisher)


_OF_STEPS = {
    _flights(step_name="validate_flight"): 930,
    _flights(step_name="fetch_weather"): 458,
    _flights(step_name="lookup_aircraft"): 458,
    _flights(step_name="assess_delay"): 458,
}
_BY_RESULT = {_flights(result="success"): 4 * 458, _flights(result="failure"): 472}
_NO_LABELS = _labels()
_DEPTHS = {
    _flights(queue="flights_domain_events"): 930 + 125,
    _flights(queue="flights_domain_events_dlq"): 0,
    _flights(queue="steps"): 0,
}

_COUNTED: Mapping[str, Mapping[Labels, float]] = {
    "tasker_domain_events_published_total": {
        _published("flight.validated", "fast"): 458,
        _published("flight.cancelled", "durable"): 472,
        _published("weather.observed", "fast"): 458,
        _published("flight.departed", "durable"): 458,
        _published("flight.delayed", "broadcast", publisher="flights.delay"): 125,
    },
    "tasker_domain_events_publish_duration_milliseconds_count": {
        _flights(delivery_mode="durable", result="success"): 930,
        _flights(delivery_mode="fast", result="success"): 916,
        _flights(delivery_mode="broadcast", result="success"): 125,
    },
    "router_durable_routed_total": {_NO_LABELS: 930},
    "router_fast_routed_total": {_NO_LABELS: 916},
    "router_broadcast_routed_total": {_NO_LABELS: 125},
    "router_routed_total": {_NO_LABELS: 1971},
    "in_process_bus_events_dispatched_total": {_NO_LABELS: 916 + 125},
    "in_process_bus_rust_handler_dispatches_total": {_NO_LABELS: 125},
    "tasker_tasks_requests_total": {_flights(task_type="departure"): 930},
    "tasker_tasks_completions_total": {_flights(task_type="departure"): 458},
    "tasker_tasks_failures_total": {_flights(task_type="departure", error_type="FlightCancelled"): 472},
    "tasker_steps_claimed_total": _OF_STEPS,
    "tasker_steps_executions_total": _OF_STEPS,
    "tasker_steps_results_submitted_total": _OF_STEPS,
    "tasker_steps_successes_total": {**_OF_STEPS, _flights(step_name="validate_flight"): 458},
    "tasker_steps_failures_total": {
        _flights(step_name="validate_flight", error_type="FlightCancelled", retryable="false"): 472
    },
    "tasker_step_execution_duration_milliseconds_count": _BY_RESULT,
    "tasker_step_result_submission_duration_milliseconds_count": _BY_RESULT,
    "tasker_step_wait_duration_milliseconds_count": _BY_RESULT,
}
"""Counters and counts of histograms that are not 0, over all workers."""
