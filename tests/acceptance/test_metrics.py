"""`GET /metrics` as Prometheus reads it: every family, its labels from the start, no figure that falls (SPEC 4.3)."""

from __future__ import annotations

import signal

import pytest
from support.project import Project
from support.supervised import kill, supervised
from support.waiting import until

HANDLERS = """
import logging
import os
import signal
import threading
from tasker_actors import PermanentError, RetryableError, step_handler, subscriber

def log_to_a_full_disk(*_):
    "Three lines."
    kept, full = os.dup(2), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 2)
    for _ in range(3):
        logging.getLogger("metric_handlers").error("lost")
    os.dup2(kept, 2)
    os.close(kept)
    os.close(full)

signal.signal(signal.SIGUSR2, log_to_a_full_disk)

@step_handler("loses_lines")
def loses_lines():
    log_to_a_full_disk()
    return {}

@step_handler("counted")
def counted(context):
    if context.get_input("fail") == "permanent":
        raise PermanentError("no")
    if context.get_input("fail") == "retryable" and not context.is_retry():
        raise RetryableError("again")
    if context.get_input("refused"):
        context.publish("counted.refused", float("nan"))
    return {}

@step_handler("held")
def held(context):
    never = threading.Event()
    while not os.path.exists(context.get_input("gate")):
        never.wait(0.02)
    return {}

@subscriber("counted.#")
def on_counted(event):
    pass
"""

MODES = ("durable", "fast", "broadcast")
WORKERS = {"0", "1"}
CONCURRENCY = 4
BOUNDS = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, float("inf")}

LABELS = {
    "tasker_domain_events_published_total": {"namespace", "event_name", "delivery_mode", "publisher"},
    "tasker_domain_events_failed_total": {"namespace", "event_name", "delivery_mode", "publisher"},
    "tasker_domain_events_refusals_total": {"namespace", "error_type"},
    "tasker_domain_events_dropped_total": {"channel"},
    "tasker_domain_events_publish_duration_milliseconds_count": {"namespace", "delivery_mode", "result"},
    **{
        f"router_{name}_total": {"worker"}
        for name in (
            "durable_routed", "fast_routed", "broadcast_routed", "routed", "fast_delivery_errors", "routing_errors",
        )
    },
    **{
        f"in_process_bus_{name}_total": {"worker"}
        for name in (
            "events_dispatched", "rust_handler_dispatches", "rust_handler_errors", "subscriber_drops",
            "ffi_channel_dispatches", "ffi_channel_drops",
        )
    },
    "tasker_tasks_requests_total": {"namespace", "task_type"},
    "tasker_tasks_completions_total": {"namespace", "task_type"},
    "tasker_tasks_failures_total": {"namespace", "task_type", "error_type"},
    **{
        f"tasker_steps_{name}_total": {"namespace", "step_name"}
        for name in ("executions", "successes", "claimed", "results_submitted")
    },
    "tasker_steps_failures_total": {"namespace", "step_name", "error_type", "retryable"},
    **{
        f"tasker_{name}_duration_milliseconds_count": {"namespace", "result"}
        for name in ("step_execution", "step_claim", "step_result_submission", "step_wait")
    },
    "tasker_queue_depth": {"namespace", "queue"},
    "tasker_queue_oldest_message_age_seconds": {"namespace", "queue"},
    "tasker_steps_active_executions": {"worker"},
    "tasker_workers_alive": {"worker"},
    "tasker_workers_saturation": {"worker"},
    "tasker_workers_restarts_total": {"worker", "reason"},
    "tasker_actors_restarts_total": {"actor", "reason"},
    "tasker_actors_mailbox_depth": {"worker", "actor"},
    "tasker_telemetry_spans_dropped_total": {"worker"},
    "tasker_telemetry_log_records_dropped_total": {"worker"},
    "tasker_drops_total": {"worker", "buffer", "reason"},
    "tasker_http_refusals_total": {"reason"},
    "tasker_telemetry_overflows_total": {"metric"},
}  # fmt: skip

GAUGES = {
    "tasker_queue_depth",
    "tasker_queue_oldest_message_age_seconds",
    "tasker_steps_active_executions",
    "tasker_workers_alive",
    "tasker_workers_saturation",
    "tasker_actors_mailbox_depth",
}
ACTORS = {
    "step_source", "step_executor", "event_router", "durable_publisher", "event_bus", "publisher_hooks", "lifecycle",
    "slot", "maintenance", "schedules",
}  # fmt: skip
ACTOR_RESTART_REASONS = {"error", "system", "memory", "exit"}
RESTART_REASONS = {"exit", "signal", "hang", "memory", "age", "count", "escalated", "hup"}


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("metrics") / "project")
    project.module("metric_handlers", HANDLERS)
    events = [{"name": f"counted.{mode}", "delivery_mode": mode} for mode in MODES]
    retry = {"max_attempts": 2, "backoff": "none"}
    project.template("job", {"counted": {"publishes_events": events, "retry": retry}}, namespace="figures")
    project.template("wait", {"held": {}}, namespace="figures")
    project.template("lose", {"loses_lines": {}}, namespace="figures")
    # A worker that was killed stays away for so long that nobody who looks can miss it.
    away = {f"TASKER_WORKER__RESTART_BACKOFF_{name}": "4000" for name in ("MS", "MAX_MS")}
    away["TASKER_LINKS__MAX_MESSAGE_BYTES"] = str(1024 * 1024)
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, concurrency=CONCURRENCY, variables=away) as found,
    ):
        yield found


def values(one, name, **labels):
    """The sum of a metric's series that have these labels."""
    wanted = set(labels.items())
    return sum(value for found, value in one.metrics()[name].items() if wanted <= found)


def test_declared_label_sets_are_there_at_0_before_anything_has_happened(one):
    found = one.metrics()
    for name in ("tasker_domain_events_published_total", "tasker_domain_events_failed_total"):
        for mode in MODES:
            event = {"namespace": "figures", "event_name": f"counted.{mode}", "delivery_mode": mode}
            labels = {**event, "publisher": "default"}
            assert found.get(name, {}).get(frozenset(labels.items())) == 0, (name, mode)
    for name in ("tasker_tasks_requests_total", "tasker_tasks_completions_total"):
        assert found[name][frozenset({("namespace", "figures"), ("task_type", "job")})] == 0
    for name in ("executions", "successes"):
        labels = {"namespace": "figures", "step_name": "counted"}
        assert found[f"tasker_steps_{name}_total"][frozenset(labels.items())] == 0
    assert {dict(labels)["worker"] for labels in found["tasker_workers_alive"]} == WORKERS
    assert {dict(labels)["worker"] for labels in found["router_routed_total"]} == WORKERS
    for name in ("spans", "log_records"):
        dropped = found[f"tasker_telemetry_{name}_dropped_total"]
        assert {dict(labels)["worker"] for labels in dropped} == {*WORKERS, "supervisor"}
    for name in LABELS.keys() - GAUGES:
        assert found.get(name), name
        assert set(found[name].values()) == {0}, name
    restarts = {(dict(labels)["worker"], dict(labels)["reason"]) for labels in found["tasker_workers_restarts_total"]}
    assert restarts == {(worker, reason) for worker in WORKERS for reason in RESTART_REASONS}
    failed = {(dict(labels)["actor"], dict(labels)["reason"]) for labels in found["tasker_actors_restarts_total"]}
    assert failed == {(actor, reason) for actor in ACTORS for reason in ACTOR_RESTART_REASONS}


def test_tasks_steps_and_events_are_counted_under_their_labels(one):
    for context in ({}, {}, {"fail": "retryable"}, {"fail": "permanent"}, {"refused": True}):
        status = "error" if "permanent" in context.values() else "complete"
        one.run("job", namespace="figures", context=context, status=status)

    until(lambda: values(one, "router_routed_total") == 4 * len(MODES) + 1)
    job = {"namespace": "figures", "task_type": "job"}
    assert values(one, "tasker_tasks_requests_total", **job) == 5
    assert values(one, "tasker_tasks_completions_total", **job) == 4
    assert values(one, "tasker_tasks_failures_total", **job, error_type="permanent_error") == 1
    step = {"namespace": "figures", "step_name": "counted"}
    assert values(one, "tasker_steps_executions_total", **step) == 6
    assert values(one, "tasker_steps_successes_total", **step) == 4
    assert values(one, "tasker_steps_claimed_total", **step) == 6
    assert values(one, "tasker_steps_results_submitted_total", **step) == 6
    failed = "tasker_steps_failures_total"
    assert values(one, failed, **step, error_type="retryable_error", retryable="true") == 1
    assert values(one, failed, **step, error_type="permanent_error", retryable="false") == 1
    for mode in MODES:
        assert values(one, "tasker_domain_events_published_total", delivery_mode=mode) == 4
        assert values(one, f"router_{mode}_routed_total") == 4
    assert values(one, "tasker_domain_events_refusals_total", error_type="nan_or_infinity") == 1
    assert values(one, "tasker_domain_events_failed_total", event_name="counted.refused", delivery_mode="fast") == 1
    duration = "tasker_domain_events_publish_duration_milliseconds_count"
    assert values(one, duration, namespace="figures", result="success") == 12
    assert values(one, duration, namespace="figures", result="failure") == 1


def test_lines_that_standard_error_does_not_take_and_messages_that_a_link_does_not_are_counted(one):
    def drops(buffer):
        """Who dropped how much from it, and why."""
        found = [(dict(labels), count) for labels, count in one.metrics()["tasker_drops_total"].items()]
        return sorted(
            (one["worker"], one["reason"], count) for one, count in found if one["buffer"] == buffer and count
        )

    one.signal(signal.SIGUSR2)
    one.run("lose", namespace="figures")
    until(lambda: len(drops("stderr")) == 2)
    worker, supervisor = drops("stderr")
    assert worker[1:] == supervisor[1:] == ("closed_or_full", 3)
    assert (worker[0] in WORKERS, supervisor[0]) == (True, "supervisor")

    event = {"namespace": "figures", "name": "counted.outside", "payload": "x" * 1_100_000}
    answer = one.http.post("/v1/events", json=event)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_large"), answer.text
    assert "links.max_message_bytes" in answer.text
    assert drops("links") == [("supervisor", "too_large", 1)]


def test_every_family_has_the_labels_of_the_table_and_histograms_its_bounds(one):
    one.run("job", namespace="figures", context={"fail": "permanent", "refused": True}, status="error")
    one.run("job", namespace="figures", context={"refused": True})
    one.signal(signal.SIGHUP)
    until(lambda: values(one, "tasker_workers_restarts_total", reason="hup") == 2, 60)
    one.wait_workers(lambda workers: set(workers) == {0, 1})
    until(
        lambda: bool(one.metrics().get("tasker_queue_depth")) and bool(one.metrics().get("tasker_workers_saturation"))
    )

    found = one.metrics()

    for name, labels in LABELS.items():
        assert {frozenset(dict(series)) for series in found.get(name, {})} == {frozenset(labels)}, name
    bucket = "tasker_step_execution_duration_milliseconds_bucket"
    assert {float(dict(labels)["le"]) for labels in found[bucket]} == BOUNDS
    queues = {dict(labels)["queue"] for labels in found["tasker_queue_depth"]}
    assert {"figures_domain_events", "figures_domain_events_dlq"} <= queues


def test_counters_of_replaced_workers_stay_and_their_gauges_go(one):
    one.wait_workers(lambda workers: set(workers) == {0, 1})
    before = one.metrics()

    one.signal(signal.SIGTTOU)

    until(lambda: len(one.metrics()["tasker_workers_alive"]) == 1)
    after = one.metrics()
    for name in ("router_routed_total", "tasker_domain_events_published_total", "tasker_steps_executions_total"):
        assert sum(after[name].values()) == sum(before[name].values())
        assert set(before[name]) == set(after[name])
    for gauge in ("tasker_workers_saturation", "tasker_steps_active_executions", "tasker_actors_mailbox_depth"):
        assert {dict(labels)["worker"] for labels in after[gauge]} == {"0"}
    one.signal(signal.SIGTTIN)
    one.wait_workers(lambda workers: set(workers) == {0, 1})


def test_gauges_of_workers_show_what_runs_now_and_vanish_with_a_killed_one(one, tmp_path):
    one.wait_workers(lambda workers: set(workers) == {0, 1})
    gate = tmp_path / "gate"
    held = [one.create("wait", namespace="figures", context={"gate": str(gate)}) for _ in range(3)]

    def all_show():
        found = one.metrics()
        running = {labels: value / CONCURRENCY for labels, value in found["tasker_steps_active_executions"].items()}
        return sum(running.values()) == 3 / CONCURRENCY and found["tasker_workers_saturation"] == running

    until(all_show)
    actors = {dict(labels)["actor"] for labels in one.metrics()["tasker_actors_mailbox_depth"]}
    assert {"step_source", "event_router", "durable_publisher", "event_bus"} <= actors

    kill(one.workers()[0]["pid"])
    gone = []

    def back():
        scrape = one.metrics()
        alive = {dict(labels)["worker"] for labels in scrape["tasker_workers_alive"]}
        gone.append("0" not in alive)
        for gauge in ("tasker_steps_active_executions", "tasker_workers_saturation", "tasker_actors_mailbox_depth"):
            assert {dict(labels)["worker"] for labels in scrape[gauge]} <= alive
        return gone[-1] is False and any(gone)

    until(back)
    gate.touch()
    for task in held:
        one.wait(task, "complete")
    until(lambda: values(one, "tasker_steps_active_executions") == 0)
    assert values(one, "tasker_workers_restarts_total", worker="0", reason="signal") == 1


def test_the_text_is_what_prometheus_expects(one):
    answer = one.http.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4"
    lines = answer.text.splitlines()
    kinds = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds))
    assert {line.split()[2] for line in lines if line.startswith("# HELP")} == set(kinds)


def test_metrics_events_has_the_layout_of_the_seed_with_a_row_for_each_worker(one):
    stats = one.event_stats()

    assert set(stats) == {"router", "in_process_bus", "captured_at", "worker_id", "workers"}
    assert set(stats["router"]) == {
        "total_routed",
        "durable_routed",
        "fast_routed",
        "broadcast_routed",
        "fast_delivery_errors",
        "routing_errors",
    }
    assert set(stats["in_process_bus"]) == {
        "total_events_dispatched", "rust_handler_dispatches", "ffi_channel_dispatches", "rust_handler_errors",
        "subscriber_drops", "ffi_channel_drops", "rust_subscriber_patterns", "rust_handler_count",
        "ffi_subscriber_count",
    }  # fmt: skip
    assert [set(row) for row in stats["workers"]] == [
        {"slot", "worker_id", "incarnation", "alive", "router", "in_process_bus"}
    ] * 2
    for part in ("router", "in_process_bus"):
        for name, value in stats[part].items():
            assert value == sum(row[part][name] for row in stats["workers"]), (part, name)
    assert [(row["slot"], row["alive"]) for row in stats["workers"]] == [(0, True), (1, True)]
    alive = {worker["worker_id"] for worker in one.get("/v1/workers")["workers"] if worker["alive"]}
    assert {row["worker_id"] for row in stats["workers"]} == alive  # one form of it everywhere
