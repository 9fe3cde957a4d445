"""The figures at a real OTLP receiver: those that a scrape shows, from the supervisor alone (SPEC 4.3)."""

from __future__ import annotations

import math
import os
import signal
import time

import pytest
from support.otlp_receiver import OtlpReceiver
from support.project import Project
from support.supervised import kill, supervised
from support.waiting import until

from tasker_actors.telemetry.metrics import BY_INSTRUMENT, TABLE

HANDLERS = """
from tasker_actors import PermanentError, step_handler

@step_handler("counted")
def counted(context):
    if context.get_input("fail"):
        raise PermanentError("no")
    if context.get_input("refused"):
        context.publish("counted.refused", float("nan"))
    return {}
"""

MOVING = {"tasker_queue_oldest_message_age_seconds"}  # an age is another one at the next look


@pytest.fixture(scope="module", params=["grpc", "http/protobuf"])
def exported(request, tmp_path_factory, embedded_server):
    """A supervisor that exports every 200 ms, and the receiver that it exports to."""
    project = Project(tmp_path_factory.mktemp("otlp") / "project")
    project.module("otlp_metric_handlers", HANDLERS)
    events = [{"name": f"counted.{mode}", "delivery_mode": mode} for mode in ("durable", "fast", "broadcast")]
    project.template("job", {"counted": {"publishes_events": events}}, namespace="figures")
    with (
        OtlpReceiver() as receiver,
        embedded_server.database(migrated=True) as url,
        supervised(
            project, url, variables=receiver.environment(request.param, OTEL_METRIC_EXPORT_INTERVAL="200")
        ) as one,
    ):
        yield one, receiver


def latest(receiver):
    """The figures of the newest export by Prometheus' names and labels, as a scrape has them."""
    found = {}
    request = receiver.requests("metrics")[-1].message
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        name = BY_INSTRUMENT[metric.name].prometheus_name
        for point in getattr(metric, metric.WhichOneof("data")).data_points:
            labels = {each.key: each.value.string_value for each in point.attributes}
            if metric.WhichOneof("data") != "histogram":
                found[name, frozenset(labels.items())] = float(getattr(point, point.WhichOneof("value")))
                continue
            found[f"{name}_count", frozenset(labels.items())] = float(point.count)
            found[f"{name}_sum", frozenset(labels.items())] = point.sum
            total = 0
            for bound, count in zip((*point.explicit_bounds, math.inf), point.bucket_counts, strict=True):
                total += count
                found[f"{name}_bucket", frozenset({**labels, "le": str(bound)}.items())] = float(total)
    return found


def scraped(one):
    found = {}
    for name, series in one.metrics().items():
        for labels, value in series.items():
            named = dict(labels)
            if "le" in named:
                named["le"] = str(float(named["le"]))
            found[name, frozenset(named.items())] = value
    return found


def steady(figures):
    return {key: value for key, value in figures.items() if key[0] not in MOVING}


def test_a_collector_and_prometheus_get_the_same_figures(exported):
    one, receiver = exported
    for context in ({}, {"fail": True}, {"refused": True}):
        one.run("job", namespace="figures", context=context, status="error" if "fail" in context else "complete")

    def agree():
        return bool(receiver.requests("metrics")) and steady(latest(receiver)) == steady(scraped(one))

    until(agree)
    names = {
        metric.name for metric in receiver.requests("metrics")[-1].message.resource_metrics[0].scope_metrics[0].metrics
    }
    expected = {metric.instrument for metric in TABLE if metric.counted_in is None}
    assert names == expected
    assert (
        latest(receiver)["tasker_tasks_completions_total", frozenset({("namespace", "figures"), ("task_type", "job")})]
        == 2
    )


def test_they_come_from_the_supervisor_with_its_resource_and_one_meter(exported):
    one, receiver = exported
    points = receiver.points()
    own = [point for point in points if point.metric in BY_INSTRUMENT]
    assert {point.scope for point in own} == {"tasker"}
    assert {point.resource["process.pid"] for point in own} == {one.process.pid}
    assert {point.resource["service.name"] for point in own} == {"tasker-actors"}
    assert "tasker.worker.slot" not in own[0].resource
    assert {point.unit for point in own} <= {"", "ms", "s"}


def test_what_began_stays_begun_and_grows_through_a_workers_kill(exported):
    one, receiver = exported
    one.run("job", namespace="figures")
    before = {key(point): point for point in receiver.points("tasker.steps.executions.total")}
    [worker, *_] = one.workers().values()
    kill(worker["pid"])
    one.run("job", namespace="figures")
    until(lambda: scraped(one)[counted_steps()] == latest(receiver)[counted_steps()])
    starts = {}
    for point in receiver.points():
        if point.kind != "gauge":
            starts.setdefault(key(point), set()).add(point.start_ns)
    assert all(len(found) == 1 for found in starts.values())
    assert all(0 < start <= time.time_ns() for found in starts.values() for start in found)
    assert before


def test_exemplars_name_exported_spans_of_a_sampled_callers_trace(exported):
    one, receiver = exported
    trace_id = os.urandom(16).hex()
    headers = {"traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-01"}
    one.http.post("/v1/tasks", json={"namespace": "figures", "name": "job", "context": {}}, headers=headers)

    def marked():
        return {
            (point.metric, span_id)
            for point in receiver.points()
            for found, span_id, _ in point.exemplars
            if found == trace_id
        }

    def executions():
        return {
            span.span_id for span in receiver.spans() if span.trace_id == trace_id and span.name == "step_execution"
        }

    until(lambda: {"tasker.step.execution.duration", "tasker.steps.successes.total"} <= {name for name, _ in marked()})
    until(lambda: bool(executions()))
    assert {span_id for _, span_id in marked()} == executions()


def test_the_last_export_has_the_last_figures(exported):
    one, receiver = exported
    until(lambda: steady(latest(receiver)) == steady(scraped(one)))
    before = latest(receiver)[counted_steps()]
    one.run("job", namespace="figures")
    one.signal(signal.SIGTERM)
    assert one.wait_ended() == 0
    assert latest(receiver)[counted_steps()] == before + 1


def counted_steps():
    return "tasker_steps_executions_total", frozenset({("namespace", "figures"), ("step_name", "counted")})


def key(point):
    return point.metric, frozenset(point.attributes.items())
