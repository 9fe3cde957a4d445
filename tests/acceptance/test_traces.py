"""One trace a task, over all processes: real supervisors and workers export to a real collector (SPEC 4.2)."""

from __future__ import annotations

import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from support.otlp_receiver import OtlpReceiver, ReceivedSpan
from support.project import Project
from support.servers import DatabaseServer
from support.supervised import Supervised, kill, supervised
from support.traced_example import TracedExample, across_workers, run_traced_example, slots, traces
from support.waiting import until

ERROR = 2
PRODUCER, CONSUMER = 4, 5

HANDLERS = """
import asyncio, os, signal
from opentelemetry import trace
from tasker_actors import step_handler, subscriber

tracer = trace.get_tracer("shop.handlers")

@step_handler("sync")
def sync(context):
    with tracer.start_as_current_span("look up"), tracer.start_as_current_span("query"):
        pass
    context.logger.info("looked up")
    context.publish("order.seen", {}, delivery="fast")
    return {}

@step_handler("async")
async def looks_up(context):
    with tracer.start_as_current_span("look up async"):
        await asyncio.sleep(0)
    return {}

@step_handler("second_time")
def second_time(context):
    if not context.is_retry():
        raise ValueError("not at once")
    return {}

@step_handler("kills")
def kills(context):
    os.kill(os.getpid(), signal.SIGKILL)

@step_handler("waits")
async def waits(context):
    while not context.cancelled:
        await asyncio.sleep(0.01)
    return {}

@subscriber("order.*")
def on_order(event):
    with tracer.start_as_current_span("noted"):
        pass
"""

Traced = tuple[Supervised, OtlpReceiver]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, embedded_server: DatabaseServer) -> Iterator[Traced]:
    project = Project(tmp_path_factory.mktemp("traces") / "project")
    project.module("traced_handlers", HANDLERS)
    once = {"retry": {"max_attempts": 1}}
    project.template("sync", {"sync": once}, namespace="shop")
    project.template("async", {"async": once}, namespace="shop")
    project.template("second_time", {"second_time": {"retry": {"backoff": "none"}}}, namespace="shop")
    failed = {"name": "order.lost", "condition": "permanent_failure"}
    project.template("kills", {"kills": {**once, "publishes_events": [failed]}}, namespace="shop")
    project.template("waits", {"waits": once}, namespace="shop")
    with (
        OtlpReceiver() as receiver,
        embedded_server.database(migrated=True) as url,
        supervised(project, url, variables=receiver.environment()) as supervisor,
    ):
        yield supervisor, receiver


def of_task(receiver: OtlpReceiver, task_uuid: str, *awaited: str) -> list[ReceivedSpan]:
    """Wait until spans of these names, and the task's own, have come, and return the spans of the task's trace."""

    def found() -> list[ReceivedSpan]:
        received = receiver.spans()
        (trace_id,) = {span.trace_id for span in received if span.attributes.get("task_uuid") == task_uuid} or {None}
        return [span for span in received if span.trace_id == trace_id]

    wanted = Counter((*awaited, "task_execution"))
    until(lambda: not wanted - Counter(span.name for span in found()), 30)
    return found()


def named(spans: Sequence[ReceivedSpan], name: str) -> ReceivedSpan:
    """Return the only span of a name."""
    (span,) = [span for span in spans if span.name == name]
    return span


def parent_of(spans: Sequence[ReceivedSpan], span: ReceivedSpan) -> str:
    """Return the name of a span's parent."""
    (parent,) = [other.name for other in spans if other.span_id == span.parent_id]
    return parent


def check_tree(trace: Sequence[ReceivedSpan]) -> None:
    """One root, every parent there, no id twice, and children of the right kind within their parents' time."""
    by_id = {span.span_id: span for span in trace}
    assert len(by_id) == len(trace)
    assert [span.name for span in trace if span.parent_id not in by_id] == ["task_execution"]
    parents = {
        "step_execution": "task_execution",
        "result_submission": "task_execution",
        "handler_call": "step_execution",
        "publish_domain_event": "step_execution",
        "route_event": "publish_domain_event",
        "record_metrics": "publish_domain_event",
        "publish_durable": "route_event",
        "publish_fast": "route_event",
    }
    for span in trace:
        assert span.start_ns <= span.end_ns
        if span.name in parents:
            parent = by_id[span.parent_id]
            assert parent.name == parents[span.name]
            assert parent.start_ns <= span.start_ns + 1_000_000  # a task's beginning is known to the millisecond
            own = ("task_uuid", "namespace", "correlation_id")
            assert [span.attributes[key] for key in own] == [parent.attributes[key] for key in own]


# The worked example


@pytest.fixture(scope="module")
def example() -> TracedExample:
    return run_traced_example("--json")


def test_every_task_of_the_example_is_one_whole_trace(example: TracedExample):
    found = traces(example.spans)
    assert len(found) == 930
    for trace in found.values():
        check_tree(trace)


def test_the_example_s_spans_are_as_many_as_what_happened(example: TracedExample):
    attempts = 930 + 3 * 458
    assert Counter(span.name for span in example.spans) == {
        "task_execution": 930,
        "step_execution": attempts,
        "handler_call": attempts,
        "result_submission": attempts,
        "publish_domain_event": 1971,
        "route_event": 1971,
        "record_metrics": 1971,
        "publish_durable": 930 + 125,
        "publish_fast": 916 + 125,
    }
    assert sum(span.status == ERROR for span in example.spans if span.name == "task_execution") == 472


def test_a_trace_goes_over_several_workers_and_its_times_are_in_the_order_of_the_steps(example: TracedExample):
    trace = across_workers(example.spans)
    assert slots(trace) == {0, 1}
    steps = {span.attributes["step_name"]: span for span in trace if span.name == "step_execution"}
    assert set(steps) == {"validate_flight", "fetch_weather", "lookup_aircraft", "assess_delay"}
    for earlier, later in (("validate_flight", "fetch_weather"), ("lookup_aircraft", "assess_delay")):
        assert steps[earlier].start_ns < steps[later].start_ns


def test_spans_come_from_the_process_that_made_them(example: TracedExample):
    resources: dict[int, set[str]] = defaultdict(set)
    for span in example.spans:
        if span.name == "step_execution":
            assert span.resource["tasker.worker.slot"] == span.attributes["worker.slot"]
            resources[span.attributes["worker.slot"]].add(str(span.resource["service.instance.id"]))
    assert [len(resources[slot]) for slot in (0, 1)] == [1, 1]
    assert resources[0] != resources[1]


def test_a_durable_event_s_span_speaks_the_conventions_of_messaging(example: TracedExample):
    span = next(span for span in example.spans if span.name == "publish_durable")
    assert span.kind == PRODUCER
    assert span.attributes["messaging.system"] == "pgmq"
    assert span.attributes["messaging.destination.name"] == "flights_domain_events" == span.attributes["queue_name"]
    assert span.attributes["messaging.message.body.size"] == span.attributes["message_size"] > 0


# Users' own spans


def test_a_handler_s_own_spans_nest_under_its_call(traced: Traced):
    supervisor, receiver = traced
    trace = of_task(receiver, supervisor.run("sync", namespace="shop")["task_uuid"], "look up", "query", "noted")
    check_tree([span for span in trace if span.scope == "tasker_actors"])
    assert parent_of(trace, named(trace, "look up")) == "handler_call"
    assert parent_of(trace, named(trace, "query")) == "look up"


def test_an_async_handler_s_own_spans_nest_under_its_call(traced: Traced):
    supervisor, receiver = traced
    trace = of_task(receiver, supervisor.run("async", namespace="shop")["task_uuid"], "look up async")
    assert parent_of(trace, named(trace, "look up async")) == "handler_call"


def test_a_subscriber_s_own_spans_nest_under_the_event_s_way_to_it(traced: Traced):
    supervisor, receiver = traced
    trace = of_task(receiver, supervisor.run("sync", namespace="shop")["task_uuid"], "noted")
    assert parent_of(trace, named(trace, "noted")) == "publish_fast"
    assert named(trace, "publish_fast").attributes["subscriber_count"] == 1


def test_log_lines_of_a_handler_name_its_trace(traced: Traced):
    supervisor, receiver = traced
    task = supervisor.run("sync", namespace="shop")
    trace = of_task(receiver, task["task_uuid"])
    (line,) = supervisor.logged("looked up", correlation_id=task["correlation_id"])
    assert line["trace_id"] == trace[0].trace_id
    assert line["span_id"] in {span.span_id for span in trace}


# Whatever happens to a task


def test_a_retry_is_a_second_attempt_below_the_same_task(traced: Traced):
    supervisor, receiver = traced
    task_uuid = supervisor.run("second_time", namespace="shop")["task_uuid"]
    trace = of_task(receiver, task_uuid, *["step_execution", "handler_call", "result_submission"] * 2)
    check_tree(trace)
    attempts = sorted((span for span in trace if span.name == "step_execution"), key=lambda span: span.start_ns)
    assert [span.attributes["attempt"] for span in attempts] == [1, 2]
    assert [span.status for span in attempts] == [ERROR, 0]
    (recorded,) = [event for span in trace for event in span.events]
    assert recorded == ("exception", {"exception.type": "handler_error", "exception.message": "not at once"})
    assert named(trace, "task_execution").status == 0


def test_a_task_that_its_worker_died_of_is_ended_by_the_supervisor(traced: Traced):
    supervisor, receiver = traced
    task = supervisor.run("kills", namespace="shop", status="error")
    trace = of_task(receiver, task["task_uuid"], "step_execution", "publish_durable")
    check_tree(trace)
    attempt = named(trace, "step_execution")
    assert (attempt.status, attempt.attributes["error.type"]) == (ERROR, "worker_lost")
    assert "tasker.worker.slot" not in named(trace, "task_execution").resource
    (message,) = supervisor.messages("shop", task["task_uuid"])
    assert message["headers"]["traceparent"].split("-")[2] == named(trace, "publish_durable").span_id
    supervisor.wait_workers(lambda workers: len(workers) == 2)


def test_a_task_that_a_killed_worker_had_begun_goes_on_in_the_same_trace(traced: Traced):
    supervisor, receiver = traced
    task_uuid = supervisor.create("waits", namespace="shop")
    until(lambda: any(one["in_flight"] for one in supervisor.workers().values()))
    (busy,) = [one for one in supervisor.workers().values() if one["in_flight"]]
    kill(busy["pid"])
    supervisor.wait_workers(lambda workers: len(workers) == 2)
    supervisor.http.delete(f"/v1/tasks/{task_uuid}")
    trace = of_task(receiver, task_uuid)
    check_tree(trace)
    assert named(trace, "task_execution").attributes["task.status"] in ("cancelled", "error")


def test_a_cancelled_task_s_span_ends(traced: Traced):
    supervisor, receiver = traced
    task_uuid = supervisor.create("waits", namespace="shop")
    assert supervisor.http.delete(f"/v1/tasks/{task_uuid}").status_code == 200
    assert named(of_task(receiver, task_uuid), "task_execution").attributes["task.status"] == "cancelled"


def test_a_caller_s_trace_goes_on_in_the_task(traced: Traced):
    supervisor, receiver = traced
    answer = supervisor.http.post(
        "/v1/tasks",
        json={"name": "sync", "namespace": "shop", "context": {}},
        headers={"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", "tracestate": "vendor=1"},
    )
    task_uuid = answer.json()["task_uuid"]
    supervisor.wait(task_uuid, "complete")
    root = named(of_task(receiver, task_uuid), "task_execution")
    assert (root.trace_id, root.parent_id) == ("ab" * 16, "cd" * 8)
    assert answer.headers["traceparent"] == f"00-{root.trace_id}-{root.span_id}-01"


def test_a_caller_who_does_not_sample_is_followed(traced: Traced):
    supervisor, receiver = traced
    task = supervisor.http.post(
        "/v1/tasks",
        json={"name": "sync", "namespace": "shop", "context": {}},
        headers={"traceparent": "00-" + "ef" * 16 + "-" + "cd" * 8 + "-00"},
    ).json()
    supervisor.wait(task["task_uuid"], "complete")
    of_task(receiver, supervisor.run("sync", namespace="shop")["task_uuid"], "look up", "noted")  # a later one has come
    assert "ef" * 16 not in {span.trace_id for span in receiver.spans()}


def test_an_event_from_outside_a_step_is_a_trace_of_its_own(traced: Traced):
    supervisor, receiver = traced
    body: dict[str, Any] = {"name": "order.asked", "namespace": "shop", "payload": 1, "delivery_mode": "broadcast"}
    answer = supervisor.http.post("/v1/events", json=body)
    _, trace_id, span_id, _ = answer.headers["traceparent"].split("-")

    def spans() -> list[ReceivedSpan]:
        return [span for span in receiver.spans() if span.trace_id == trace_id]

    until(lambda: {"publish_domain_event", "noted"} <= {span.name for span in spans()}, 30)
    assert (named(spans(), "publish_domain_event").span_id, named(spans(), "publish_domain_event").parent_id) == (
        span_id,
        "",
    )
    assert parent_of(spans(), named(spans(), "noted")) == "publish_fast"


# Off, and less than all


@pytest.mark.parametrize("ratio", ["0.0", None])
def test_nothing_is_sampled_where_nothing_shall_be(
    tmp_path, embedded_server: DatabaseServer, ratio: str | None
) -> None:
    project = Project(tmp_path / "project")
    project.module("traced_handlers", HANDLERS)
    project.template("sync", {"sync": {}}, namespace="shop")
    with OtlpReceiver() as receiver, embedded_server.database(migrated=True) as url:
        variables = {} if ratio is None else receiver.environment(OTEL_TRACES_SAMPLER_ARG=ratio)
        with supervised(project, url, variables=variables, workers=1) as supervisor:
            supervisor.run("sync", namespace="shop")
            (row,) = supervisor.rows("SELECT traceparent FROM tasker.tasks")
            assert row["traceparent"].endswith("-00")
            supervisor.signal(signal.SIGTERM)
            assert supervisor.wait_ended() == os.EX_OK
        assert receiver.spans() == []
