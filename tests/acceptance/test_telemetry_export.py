"""A real supervisor and its workers export to a real collector, on every way in and every way out (SPEC 4.1)."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.otlp_receiver import OtlpReceiver, ReceivedSpan, dead_endpoint, silent_endpoint
from support.project import Project
from support.span_tree import PARENTS, check_attributes, check_tree, named, parent_of
from support.supervised import CONFIG, Supervised, run_to_end, supervised
from support.waiting import until

from tasker_actors.supervision.boot import EXIT_ESCALATED

PHASE_1 = "Console-only logging initialized (FFI-safe mode)"
LOADING = "Users' code is loaded"
PHASE_2 = "Console logging with OpenTelemetry initialized"
BUS = "Creating in-process event bus for fast domain events"
ROUTER = "Creating event router for dual-path delivery"
STOPPED = "Telemetry export stopped"
AT_THE_END = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "TASKER_TELEMETRY__SHUTDOWN_TIMEOUT_MS": "60000"}
"""Nothing leaves before the end, and then there is time, on a busy machine too."""

INCOMPLETE = "Telemetry export stopped, and not everything was exported"
FAILS = "Export to the collector fails; what does not fit the buffer is dropped and counted"

PATIENT = {"OTEL_EXPORTER_OTLP_TIMEOUT": "120", "OTEL_BSP_EXPORT_TIMEOUT": "120000"}
"""The exporter's own time limits are far away: only that of the end can be what counts."""

RESOURCE = {
    "service.name", "service.version", "service.namespace", "service.instance.id", "deployment.environment.name",
    "process.pid", "tasker.worker.slot",
}  # fmt: skip

HANDLERS = """
import os
import sys
import threading

from opentelemetry import metrics, trace

from tasker_actors import step_handler, telemetry
from tasker_actors.telemetry.logging import get_logger

get_logger("users").info(
    "Users' code is loaded",
    threads=sorted(one.name for one in threading.enumerate() if "telemetry" in one.name),
    grpc="grpc" in sys.modules,
    provider=type(trace.get_tracer_provider()).__name__,
)
tracer = trace.get_tracer("users")
counter = metrics.get_meter("users").create_counter("users.things")

@step_handler("trace")
def trace_step(context):
    with tracer.start_as_current_span("of a user"):
        counter.add(1)
        get_logger("users").info("Inside")
    return {}

@step_handler("fork")
def fork(context):
    child = os.fork()
    if child == 0:
        telemetry.init_tracing()
        with tracer.start_as_current_span("in the child"):
            counter.add(10)
        telemetry.shut_down(60000)
        os._exit(0)
    with tracer.start_as_current_span("beside the child"):
        return {"status": os.waitpid(child, 0)[1]}

@step_handler("many")
def many(context):
    for _ in range(100):
        tracer.start_span("of a user").end()
    return {}

@step_handler("crash")
def crash(context):
    os._exit(9)

@step_handler("hold")
def hold(context):
    get_logger("users").info("Holding")
    while not os.path.exists(context.get_input("gate")):
        threading.Event().wait(0.05)
    return {}

@step_handler("wait")
def wait(context):
    get_logger("users").info("Waiting")
    threading.Event().wait(60)
    return {}
"""


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as one:
        yield one


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = Project(tmp_path / "project")
    found.module("telemetry_handlers", HANDLERS)
    for name in ("many", "wait", "hold", "fork"):
        found.template(name, {name: {}}, namespace="tele")
    events = [{"name": f"thing.{mode}", "delivery_mode": mode} for mode in ("durable", "fast", "broadcast")]
    found.template("trace", {"trace": {"publishes_events": events}}, namespace="tele")
    found.template("crash", {"crash": {"retry": {"max_attempts": 50, "backoff": "none"}}}, namespace="tele")
    return found


def slots(of: Any) -> set[int]:
    """The slots of what was received."""
    return {one.resource["tasker.worker.slot"] for one in of if "tasker.worker.slot" in one.resource}


def instance(of: Any) -> Any:
    """The process that exported something."""
    return of.resource["service.instance.id"]


def exported(receiver: OtlpReceiver, metric: str, label: str) -> dict[str, float]:
    """A counter's last exported figures by one of its labels."""
    last = {tuple(sorted(point.attributes.items())): point for point in receiver.points(metric)}
    found: dict[str, float] = {}
    for point in last.values():
        found[point.attributes[label]] = found.get(point.attributes[label], 0) + point.value
    return found


def order(one: Supervised, worker: int | None) -> list[str]:
    """The lines about the phases that a process has written."""
    wanted = (PHASE_1, LOADING, PHASE_2, STOPPED)
    return [line["event"] for line in one.lines if line.get("worker") == worker and line.get("event") in wanted]


def test_supervisor_and_workers_go_through_the_phases_in_order(
    project: Project, database_url: str, receiver: OtlpReceiver
) -> None:
    with supervised(project, database_url, variables=receiver.environment()) as one:
        one.run("trace", namespace="tele")
        assert one.stop() == 0, one.last_words()
    for process in (None, 0, 1):
        assert order(one, process) == [PHASE_1, LOADING, PHASE_2, STOPPED]
    for line in one.logged(LOADING):
        assert (line["threads"], line["grpc"], line["provider"]) == ([], False, "ProxyTracerProvider")
    for worker in (0, 1):
        for sentence in (BUS, ROUTER):
            assert [line["level"] for line in one.logged(sentence, worker=worker)] == ["info"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_task_s_tree_and_users_spans_metrics_and_logs_arrive_after_a_drain(
    project: Project, database_url: str, receiver: OtlpReceiver, protocol: str
) -> None:
    """Nothing leaves before the end, by the delay: what arrives is what draining exports.

    And what a handler's fork exports, which is another instance and takes nothing of its worker's with it.
    """
    variables = receiver.environment(protocol, OTEL_LOGS_ENABLED="true", **AT_THE_END)
    with supervised(project, database_url, variables=variables) as one:
        forked = one.run("fork", namespace="tele")
        assert one.steps(forked["task_uuid"])["fork"]["result"] == {"status": 0}
        task = one.run("trace", namespace="tele")
        assert one.restarts() == {}
        assert one.stop() == 0, one.last_words()
    span, in_child, beside = (
        named(receiver.spans(), name) for name in ("of a user", "in the child", "beside the child")
    )
    assert {parent_of(receiver.spans(), each) for each in (span, in_child, beside)} == {"handler_call"}
    check_whole_tree([one for one in receiver.spans() if (one.trace_id, one.scope) == (span.trace_id, "tasker_actors")])
    assert slots([in_child]) == slots([beside])
    assert len({instance(each) for each in (in_child, beside)}) == 2
    counted = {(instance(point), point.value) for point in receiver.points("users.things")}
    assert counted == {(instance(span), 1), (instance(in_child), 10)}
    executions = exported(receiver, "tasker.steps.executions.total", "step_name")
    assert {step: executions[step] for step in ("fork", "trace")} == {"fork": 1, "trace": 1}
    (inside,) = [log for log in receiver.logs() if log.body == "Inside"]
    assert (inside.span_id, inside.attributes["correlation_id"]) == (span.span_id, task["correlation_id"])
    bodies = {(log.body, log.resource.get("tasker.worker.slot")) for log in receiver.logs()}
    assert {(text, slot) for text in (PHASE_1, LOADING, PHASE_2) for slot in (None, 0, 1)} <= bodies
    assert ("Supervisor ready", None) in bodies
    assert len({instance(log) for log in receiver.logs()} - {instance(in_child)}) == 3


def check_whole_tree(trace: Sequence[ReceivedSpan]) -> None:
    """The trace of a task has every kind of span, each with its attributes, from one process."""
    check_tree(trace)
    assert {span.name for span in trace} == {"task_execution", *PARENTS}
    (slot,) = slots(trace)
    for span in trace:
        check_attributes(span, "tele_domain_events")
        assert span.resource.keys() == RESOURCE
        assert (span.resource["service.name"], span.resource) == ("tasker-actors", trace[0].resource)
    assert named(trace, "step_execution").attributes["worker.slot"] == slot


@pytest.mark.timeout(400)
def test_twenty_workers_export(project: Project, database_url: str, receiver: OtlpReceiver) -> None:
    """They start twenty interpreters at once, which takes its time where there are two processors."""
    variables = receiver.environment(
        TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS="240000", TASKER_TELEMETRY__SHUTDOWN_TIMEOUT_MS="60000"
    )
    one = Supervised(project, database_url, workers=20, concurrency=1, variables=variables)
    try:
        one.wait_ready(240)
        assert len(one.logged(PHASE_2)) == 21
        one.create_many("trace", 200, namespace="tele")
        until(lambda: len([span for span in receiver.spans() if span.name == "of a user"]) == 200, 60)
        assert one.stop() == 0, one.last_words()
    finally:
        one.close()
    exported = [span for span in receiver.spans() if span.name == "of a user"]
    assert len({span.span_id for span in exported}) == 200
    assert len(slots(exported)) > 1
    assert slots(receiver.points("users.things")) == slots(exported)
    assert {line["worker"] for line in one.logged(STOPPED)} == {None, *range(20)}


@pytest.mark.parametrize("collector", ["dead", "silent"])
def test_a_collector_that_does_not_answer_costs_spans_and_nothing_else(
    project: Project, database_url: str, receiver: OtlpReceiver, collector: str
) -> None:
    with silent_endpoint() as silent:
        variables = receiver.environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=silent if collector == "silent" else dead_endpoint(),
            OTEL_BSP_EXPORT_TIMEOUT="100",
            OTEL_BSP_MAX_QUEUE_SIZE="150",
            OTEL_LOGS_ENABLED="true",
        )
        with supervised(project, database_url, workers=1, variables=variables) as one:
            for _ in range(5):
                one.run("many", namespace="tele")
            name = "tasker_telemetry_spans_dropped_total"
            until(lambda: one.metrics()[name].get(frozenset({("worker", "0")}), 0) >= 350)
            name = "tasker_telemetry_log_records_dropped_total"
            losers = (frozenset({("worker", "0")}), frozenset({("worker", "supervisor")}))
            until(lambda: all(one.metrics()[name][loser] > 0 for loser in losers))
            assert one.stop() == 0, one.last_words()
    (last,) = one.logged(INCOMPLETE, worker=0)
    assert last["spans_dropped"] >= 500
    assert last["log_records_dropped"] > 0
    fails = one.logged(FAILS, worker=0)
    signals = [line["signal"] for line in fails]
    assert {"traces", "logs"} <= set(signals)
    assert len(set(signals)) == len(signals)
    assert {line["level"] for line in fails} == {"warning"}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_does_not_answer_delays_the_end_no_longer_than_the_default_setting_says(
    project: Project, database_url: str, receiver: OtlpReceiver, protocol: str
) -> None:
    """2 s by default, half of it each; the bound is far from that and from the exporter's own limits."""
    with silent_endpoint() as silent:
        variables = receiver.environment(protocol, OTEL_EXPORTER_OTLP_ENDPOINT=silent, **PATIENT)
        with supervised(project, database_url, workers=1, variables=variables) as one:
            for _ in range(4):
                one.run("many", namespace="tele")
            assert one.stop() == 0, one.last_words()
    ends = {line["worker"]: line for line in one.logged(INCOMPLETE)}
    assert sum(line["spans_dropped"] for line in ends.values()) >= 400
    assert all(line["duration_ms"] < 5000 for line in ends.values())


def test_what_waits_while_the_collector_is_away_arrives_when_it_comes_back(
    project: Project, database_url: str, receiver: OtlpReceiver
) -> None:
    def arrived() -> int:
        return len({span.span_id for span in receiver.spans() if span.name == "of a user"})

    with supervised(project, database_url, workers=1, variables=receiver.environment(**PATIENT)) as one:
        one.run("many", namespace="tele")
        until(lambda: arrived() == 100)
        receiver.stop()
        one.run("many", namespace="tele")
        until(lambda: bool(one.logged(FAILS, worker=0, signal="traces")))
        one.run("many", namespace="tele")
        assert arrived() == 100
        receiver.start()
        until(lambda: arrived() == 300)
        one.run("many", namespace="tele")
        until(lambda: arrived() == 400)
        assert set(one.metrics()["tasker_telemetry_spans_dropped_total"].values()) == {0}
        assert one.stop() == 0, one.last_words()
    assert one.logged("Export to the collector works again", worker=0, signal="traces")
    assert one.logged(STOPPED, worker=0, spans_dropped=0)


def test_a_second_signal_exports_what_the_supervisor_has(
    project: Project, database_url: str, receiver: OtlpReceiver
) -> None:
    variables = receiver.environment(OTEL_LOGS_ENABLED="true", **AT_THE_END)
    with supervised(project, database_url, workers=1, variables=variables) as one:
        one.create("wait", namespace="tele")
        until(lambda: bool(one.logged("Waiting")))
        one.signal(signal.SIGTERM)
        until(lambda: bool(one.logged("Draining")))
        one.signal(signal.SIGTERM)
        assert one.wait_ended() == 5, one.last_words()
    received = [log.body for log in receiver.logs() if "tasker.worker.slot" not in log.resource]
    assert received.count("Signal received") == 2
    assert {PHASE_1, LOADING, PHASE_2} <= set(received)
    assert exported(receiver, "tasker.tasks.requests.total", "task_type")["wait"] == 1


def test_giving_up_exports_the_reason_and_what_was_logged_and_counted_before(
    project: Project, database_url: str, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    """One worker crashes until that is enough; the other one works until then, and drains."""
    variables = receiver.environment(OTEL_LOGS_ENABLED="true", TASKER_WORKER__RESTART_LIMIT="1", **AT_THE_END)
    gate = tmp_path / "gate"
    with supervised(project, database_url, concurrency=1, variables=variables) as one:
        one.create("hold", namespace="tele", context={"gate": str(gate)})
        until(lambda: bool(one.logged("Holding")))
        one.create("crash", namespace="tele")
        until(lambda: bool(one.logged("The supervisor ends")), 100)
        gate.touch()
        assert one.wait_ended() == 4, one.last_words()
    (reason,) = [log for log in receiver.logs() if log.body == "The supervisor ends"]
    assert "crashed" in reason.attributes["error"]
    drained = one.logged("Holding")[0]["worker"]
    bodies = {(log.body, log.resource.get("tasker.worker.slot")) for log in receiver.logs()}
    assert {(text, slot) for text in (PHASE_1, LOADING, PHASE_2) for slot in (None, drained)} <= bodies
    assert len(one.logged("Worker ended", exit_code=9)) == 2
    assert exported(receiver, "tasker.workers.restarts.total", "reason")["exit"] == 2
    assert exported(receiver, "tasker.tasks.requests.total", "task_type") == {
        name: float(name in ("hold", "crash")) for name in ("trace", "many", "wait", "hold", "fork", "crash")
    }


def test_a_worker_that_cannot_boot_exports_the_reason(
    project: Project, database_url: str, receiver: OtlpReceiver
) -> None:
    """The module fails in the worker only, before phase 2: its export begins for this."""
    project.module(
        "fails_in_worker",
        """
        import sys
        if "supervision.worker" in " ".join(sys.orig_argv):
            raise RuntimeError("broken by the test")
        """,
    )
    code, _ = run_to_end(
        project,
        arguments=("--bind", "127.0.0.1:0", "--workers", "1"),
        DATABASE_URL=database_url,
        **receiver.environment(OTEL_LOGS_ENABLED="true", **AT_THE_END),
    )
    assert code == 3
    by_worker = {
        log.resource.get("tasker.worker.slot"): log.attributes["error"]
        for log in receiver.logs()
        if log.body in ("The worker cannot start", "The supervisor ends")
    }
    assert set(by_worker) == {None, 0}
    assert all("broken by the test" in error for error in by_worker.values())


def test_a_worker_whose_actor_failed_for_good_exports_what_it_has_before_it_ends(
    project: Project, database_url: str, receiver: OtlpReceiver
) -> None:
    """Within half a second, which may be too short on a busy machine: one worker of three has to make it."""
    project.module(
        "hosted",
        """
        import pykka
        from opentelemetry import trace
        from tasker_actors import step_handler

        class Fragile(pykka.ThreadingActor):
            reference = None

            def on_start(self):
                Fragile.reference = self.actor_ref

            def on_receive(self, message):
                raise ValueError("on purpose")

        @step_handler("break_actor")
        def break_actor():
            trace.get_tracer("users").start_span("before the end").end()
            for _ in range(20):
                Fragile.reference.tell({})
        """,
    )
    project.template("break", {"break_actor": {}}, namespace="tele")
    config = project.file("hosted.toml", CONFIG.read_text() + '\n[actors]\nfragile = "hosted:Fragile"\n')
    variables = receiver.environment(OTEL_LOGS_ENABLED="true", **AT_THE_END)

    def arrived() -> bool:
        spans = {span.name for span in receiver.spans()}
        reasons = {str(log.attributes.get("error")) for log in receiver.logs() if slots([log]) == {0}}
        return "before the end" in spans and any("on purpose" in reason for reason in reasons)

    with supervised(project, database_url, workers=1, variables=variables, options=("--config", str(config))) as one:
        for times in (1, 2, 3):
            one.create("break", namespace="tele")
            until(lambda times=times: len(one.logged("Worker ended", exit_code=EXIT_ESCALATED)) == times)
            if arrived():
                break
        assert arrived(), one.last_words()


def test_a_replaced_worker_is_another_instance(project: Project, database_url: str, receiver: OtlpReceiver) -> None:
    with supervised(project, database_url, workers=1, variables=receiver.environment()) as one:
        one.run("trace", namespace="tele")
        one.signal(signal.SIGHUP)
        until(lambda: len(one.logged("Worker ready")) == 2)
        one.run("trace", namespace="tele")
        assert one.stop() == 0, one.last_words()
    found = [span for span in receiver.spans() if span.name == "of a user"]
    assert slots(found) == {0}
    assert len({span.resource["service.instance.id"] for span in found}) == len(found) == 2
