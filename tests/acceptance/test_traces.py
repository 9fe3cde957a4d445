"""One trace a task, over all processes: real supervisors and workers export to a real collector (SPEC 4.2)."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.otlp_receiver import OtlpReceiver, ReceivedSpan
from support.project import Project
from support.servers import DatabaseServer
from support.span_tree import ERROR, check_tree, named, parent_of
from support.supervised import Supervised, kill, supervised
from support.waiting import until

HANDLERS = """
import asyncio, os, signal, threading
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

@step_handler("takes_time")
def takes_time(context):
    threading.Event().wait(0.3)
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

@step_handler("waits_first_time")
async def waits_first_time(context):
    context.logger.info("begun")
    while not context.is_retry():
        await asyncio.sleep(0.01)
    return {}

@step_handler("waits_for_gate")
async def waits_for_gate(context):
    context.logger.info("begun")
    while not os.path.exists(context.get_input("gate")):
        await asyncio.sleep(0.01)
    return {}

@subscriber("order.*")
def on_order(event):
    with tracer.start_as_current_span("noted"):
        pass
"""

CLOCKS_NS = 5_000_000
"""How far a process's clocks may be from each other, and from PostgreSQL's."""

Traced = tuple[Supervised, OtlpReceiver]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, embedded_server: DatabaseServer) -> Iterator[Traced]:
    project = Project(tmp_path_factory.mktemp("traces") / "project")
    project.module("traced_handlers", HANDLERS)
    once = {"retry": {"max_attempts": 1}}
    project.template("sync", {"sync": once}, namespace="shop")
    project.template("async", {"async": once}, namespace="shop")
    timed = {**once, "publishes_events": [{"name": "order.timed"}]}
    project.template("takes_time", {"takes_time": timed}, namespace="shop")
    project.template("second_time", {"second_time": {"retry": {"backoff": "none"}}}, namespace="shop")
    failed = {"name": "order.lost", "condition": "permanent_failure"}
    project.template("kills", {"kills": {**once, "publishes_events": [failed]}}, namespace="shop")
    project.template("waits", {"waits": once}, namespace="shop")
    twice = {"retry": {"max_attempts": 2, "backoff": "none"}}
    project.template("waits_first_time", {"waits_first_time": twice}, namespace="shop")
    with (
        OtlpReceiver() as receiver,
        embedded_server.database(migrated=True) as url,
        supervised(project, url, variables=receiver.environment(DEPLOYMENT_ENVIRONMENT="staging")) as supervisor,
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


def test_supervisor_and_worker_say_what_they_are(traced: Traced):
    supervisor, receiver = traced
    same = {
        "service.name": "tasker-actors",
        "service.version": version("tasker-actors"),
        "service.namespace": "tasker",
        "deployment.environment.name": "staging",
    }
    ran = named(of_task(receiver, supervisor.run("async", namespace="shop")["task_uuid"]), "task_execution").resource
    slot = ran["tasker.worker.slot"]
    of_worker = {"process.pid": supervisor.workers()[slot]["pid"], "tasker.worker.slot": slot}
    cancelled = supervisor.create("waits", namespace="shop")
    supervisor.http.delete(f"/v1/tasks/{cancelled}").raise_for_status()
    ended = named(of_task(receiver, cancelled), "task_execution").resource
    for resource, own in ((ran, of_worker), (ended, {"process.pid": supervisor.process.pid})):
        assert resource == {**same, **own, "service.instance.id": resource["service.instance.id"]}
    assert ran["service.instance.id"] != ended["service.instance.id"]


def milliseconds(span: ReceivedSpan) -> float:
    """Return how long a span lasted."""
    return (span.end_ns - span.start_ns) / 1e6


def test_the_times_of_spans_are_those_of_the_attempt_and_its_task(traced: Traced):
    supervisor, receiver = traced
    task_uuid = supervisor.run("takes_time", namespace="shop")["task_uuid"]
    trace = of_task(receiver, task_uuid, "handler_call", "result_submission", "publish_durable")
    check_tree(trace)
    call, attempt, submission, publication, root = (
        named(trace, name)
        for name in ("handler_call", "step_execution", "result_submission", "publish_durable", "task_execution")
    )
    (stored,) = supervisor.attempts(task_uuid, "takes_time")
    (message,) = supervisor.messages("shop", task_uuid)
    assert stored["duration_ms"] >= 300
    assert milliseconds(call) == pytest.approx(stored["duration_ms"], abs=0.01)
    assert milliseconds(call) == pytest.approx(message["message"]["execution"]["duration_ms"], abs=0.01)
    assert attempt.start_ns == call.start_ns
    assert milliseconds(attempt) >= milliseconds(call)
    # Handed over and committed: it was sent after the handler's end, and the answer ended all three.
    assert call.end_ns <= submission.start_ns <= publication.start_ns < publication.end_ns
    assert publication.end_ns == submission.end_ns == root.end_ns
    (row,) = supervisor.rows(
        """
        SELECT extract(epoch FROM created_at)::float AS created, extract(epoch FROM completed_at)::float AS completed
        FROM tasker.tasks WHERE task_uuid = %s
        """,
        task_uuid,
    )
    assert root.start_ns <= row["created"] * 1e9 + CLOCKS_NS
    assert publication.start_ns - CLOCKS_NS <= row["completed"] * 1e9 <= publication.end_ns + CLOCKS_NS


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
    """The step ran alone, so its attempt counts, and the supervisor ends it in the worker's place."""
    supervisor, receiver = traced
    until(lambda: not any(one["in_flight"] for one in supervisor.workers().values()))
    task_uuid = supervisor.create("waits_first_time", namespace="shop")
    line = begun(supervisor, task_uuid)
    killed, slot = line["pid"], line["worker"]
    kill(killed)
    supervisor.wait(task_uuid, "complete")
    trace = of_task(receiver, task_uuid, "step_execution", "step_execution", "handler_call", "result_submission")
    check_tree(trace)
    lost, second = sorted((span for span in trace if span.name == "step_execution"), key=lambda span: span.start_ns)
    assert [lost.attributes["attempt"], second.attributes["attempt"]] == [1, 2]
    assert (lost.status, lost.attributes["error.type"]) == (ERROR, "worker_lost")
    assert (lost.resource["process.pid"], lost.attributes["worker.slot"]) == (supervisor.process.pid, slot)
    assert (second.status, named(trace, "handler_call").parent_id) == (0, second.span_id)
    assert second.resource["process.pid"] not in (killed, supervisor.process.pid)
    root = named(trace, "task_execution")
    assert (root.status, root.attributes["task.status"], root.parent_id) == (0, "complete", "")
    assert root.resource["service.instance.id"] == second.resource["service.instance.id"]
    supervisor.wait_workers(lambda workers: len(workers) == 2)


def begun(supervisor: Supervised, task_uuid: str) -> dict[str, Any]:
    """Wait for the line that a handler of this task logs at its beginning."""
    correlation_id = supervisor.task(task_uuid)["correlation_id"]
    until(lambda: bool(supervisor.logged("begun", correlation_id=correlation_id)))
    return supervisor.logged("begun", correlation_id=correlation_id)[0]


def test_a_task_goes_on_in_the_same_trace_under_the_next_supervisor(tmp_path: Path, embedded_server: DatabaseServer):
    project = Project(tmp_path / "project")
    project.module("traced_handlers", HANDLERS)
    steps = {"first": {"handler": "waits_for_gate"}, "second": {"handler": "async", "dependencies": ["first"]}}
    project.template("pair", steps, namespace="shop")
    gate = tmp_path / "gate"
    with OtlpReceiver() as receiver, embedded_server.database(migrated=True) as url:
        keys: dict[str, Any] = {"variables": receiver.environment(), "workers": 1}
        with supervised(project, url, **keys) as supervisor:
            task_uuid = supervisor.create("pair", namespace="shop", context={"gate": str(gate)})
            begun(supervisor, task_uuid)
            supervisor.signal(signal.SIGTERM)
            until(lambda: bool(supervisor.logged("Draining")))
            gate.touch()
            assert supervisor.wait_ended() == os.EX_OK
        (before,) = [span for span in receiver.spans() if span.name == "step_execution"]
        assert "task_execution" not in {span.name for span in receiver.spans()}
        with supervised(project, url, log="second.log", **keys) as supervisor:
            supervisor.wait(task_uuid, "complete")
            trace = of_task(receiver, task_uuid, *["step_execution", "handler_call", "result_submission"] * 2)
    check_tree([span for span in trace if span.scope == "tasker_actors"])
    root = named(trace, "task_execution")
    (after,) = [span for span in trace if span.name == "step_execution" and span.attributes["step_name"] == "second"]
    assert (before.attributes["step_name"], before.trace_id) == ("first", root.trace_id)
    assert (root.parent_id, before.parent_id, after.parent_id) == ("", root.span_id, root.span_id)
    assert root.resource["service.instance.id"] == after.resource["service.instance.id"]
    assert root.resource["service.instance.id"] != before.resource["service.instance.id"]


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
