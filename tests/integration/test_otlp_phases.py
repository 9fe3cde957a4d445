"""The two phases in programs that use the package as a library, against a real collector (SPEC 4.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from support.otlp_receiver import OtlpReceiver, dead_endpoint
from support.programs import Ended, run_program

PHASE_1 = "Console-only logging initialized (FFI-safe mode)"
PHASE_2 = "Console logging with OpenTelemetry initialized"
CONSOLE = "Console logging initialized"
STOPPED = "Telemetry export stopped"
GIVEN_UP = "OpenTelemetry's metrics are not exported: they were being collected when this process was forked"


@pytest.fixture(params=["grpc", "http/protobuf"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as one:
        yield one


# phase 1


def test_phase_1_starts_no_thread_opens_no_socket_and_sets_no_global(receiver: OtlpReceiver) -> None:
    ended = run_program(
        """
        import os, stat, sys, threading
        from tasker_actors import telemetry
        assert not {"structlog", "grpc", "opentelemetry"} & set(sys.modules), "importing the package loaded it"
        telemetry.init_console_only()
        loaded = [name for name in sys.modules if name.split(".")[0] in ("grpc", "opentelemetry", "google", "httpx")]
        assert loaded == [], loaded
        assert len(os.listdir("/proc/self/task")) == threading.active_count() == 1
        opened = [int(name) for name in os.listdir("/proc/self/fd")]
        kinds = [os.fstat(one).st_mode for one in opened if one < max(opened)]
        assert not any(stat.S_ISSOCK(mode) for mode in kinds)
        from opentelemetry import metrics, propagate, trace
        assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider"
        assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
        """,
        **receiver.environment(),
    )
    assert ended.events == [PHASE_1]
    (line,) = ended.log
    assert (line["environment"], line["opentelemetry_enabled"]) == ("development", False)
    assert line["context"] == "ffi_initialization"


# phase 2

EVERYTHING = """
    from tasker_actors import telemetry
    from tasker_actors.telemetry.logging import get_logger
    from tasker_actors.telemetry.trace_context import correlated, new_trace
    telemetry.init_console_only(worker=2)
    get_logger("boot").info("before phase 2", answer=42)
    telemetry.init_tracing()
    from opentelemetry import metrics, trace
    tracer = trace.get_tracer("of-a-user", "1.2")
    with tracer.start_as_current_span("outer", attributes={"key": "value"}), tracer.start_as_current_span("inner"):
        with correlated(new_trace(), "corr-1"):
            get_logger("work").warning("inside", number=7)
    metrics.get_meter("of-a-user").create_counter("things", unit="1").add(3, {"kind": "a"})
    telemetry.shut_down()
"""


def test_all_three_signals_of_a_users_code_arrive(receiver: OtlpReceiver, protocol: str) -> None:
    ended = run_program(EVERYTHING, **receiver.environment(protocol, OTEL_LOGS_ENABLED="true", TASKER_ENV="test"))
    assert ended.events == [PHASE_1, "before phase 2", PHASE_2, "inside", STOPPED]
    outer, inner = sorted(receiver.spans(), key=lambda span: span.start_ns)
    assert (outer.name, outer.parent_id, outer.attributes, outer.scope) == ("outer", "", {"key": "value"}, "of-a-user")
    assert (inner.name, inner.parent_id, inner.trace_id) == ("inner", outer.span_id, outer.trace_id)
    (point,) = receiver.points("things")
    assert (point.value, point.attributes, point.scope) == (3, {"kind": "a"}, "of-a-user")
    resources = [one.resource for one in (*receiver.spans(), *receiver.points(), *receiver.logs())]
    assert all(resource == resources[0] for resource in resources)
    resource = dict(resources[0])
    assert resource.pop("service.instance.id")
    assert resource.pop("process.pid") == ended.log[0]["pid"]
    assert resource == {
        "service.name": "tasker-actors",
        "service.version": version("tasker-actors"),
        "service.namespace": "tasker",
        "deployment.environment.name": "test",
        "tasker.worker.slot": 2,
    }


def test_log_records_of_both_phases_arrive_with_their_ids(receiver: OtlpReceiver) -> None:
    ended = run_program(EVERYTHING, **receiver.environment(OTEL_LOGS_ENABLED="true"))
    logs = sorted(receiver.logs(), key=lambda log: log.time_ns)
    assert [log.body for log in logs] == [PHASE_1, "before phase 2", PHASE_2, "inside"]
    _, early, _, inside = logs
    assert (early.scope, early.severity, early.attributes["answer"]) == ("boot", "INFO", 42)
    inner = next(span for span in receiver.spans() if span.name == "inner")
    assert (inside.trace_id, inside.span_id) == (inner.trace_id, inner.span_id)
    assert (inside.attributes["correlation_id"], inside.attributes["number"]) == ("corr-1", 7)
    line = ended.log[3]
    assert (line["trace_id"], line["span_id"]) == (inner.trace_id, inner.span_id)


def test_phase_2_says_what_it_did(receiver: OtlpReceiver, protocol: str) -> None:
    environ = receiver.environment(protocol, OTEL_SERVICE_NAME="flights", DEPLOYMENT_ENVIRONMENT="staging")
    line = run_program(EVERYTHING, **environ).log[2]
    assert (line["event"], line["level"]) == (PHASE_2, "info")
    assert (line["environment"], line["opentelemetry_enabled"], line["logs_enabled"]) == ("staging", True, False)
    assert (line["otlp_endpoint"], line["service_name"]) == (environ["OTEL_EXPORTER_OTLP_ENDPOINT"], "flights")
    assert receiver.logs() == []


def test_phase_2_runs_phase_1_first_and_each_is_idempotent(receiver: OtlpReceiver) -> None:
    ended = run_program(
        """
        import threading
        from tasker_actors import telemetry
        for _ in range(2):
            telemetry.init_tracing()
            telemetry.init_console_only()
        exporters = [thread for thread in threading.enumerate() if thread.name == "telemetry-exporter"]
        assert len(exporters) == 1 and exporters[0].daemon
        """,
        **receiver.environment(),
    )
    assert ended.events == [PHASE_1, PHASE_2, STOPPED]


def test_a_disabled_sdk_stays_on_the_console() -> None:
    source = (
        "from tasker_actors import telemetry; telemetry.init_tracing(); import sys; assert 'grpc' not in sys.modules"
    )
    ended = run_program(source, TELEMETRY_ENABLED="true", OTEL_SDK_DISABLED="true")
    assert ended.events == [PHASE_1, CONSOLE]


def test_an_exporter_that_cannot_be_built_leaves_the_console_and_one_warning(tmp_path: object) -> None:
    ended = run_program(
        """
        from tasker_actors import telemetry
        for _ in range(2):
            telemetry.init_tracing()
        assert telemetry.phases.exporter() is None
        from opentelemetry import trace
        trace.get_tracer("x").start_span("lost").end()
        """,
        TELEMETRY_ENABLED="true",
        OTEL_EXPORTER_OTLP_CERTIFICATE=f"{tmp_path}/missing.pem",
    )
    phase_1, warning = ended.log
    assert phase_1["event"] == PHASE_1
    assert (warning["level"], warning["opentelemetry_enabled"]) == ("warning", False)
    assert "staying console-only" in warning["event"]
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in warning["error"]


def test_a_provider_that_the_program_had_set_is_upgraded_in_place(receiver: OtlpReceiver) -> None:
    run_program(
        """
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        theirs = TracerProvider(), MeterProvider()
        trace.set_tracer_provider(theirs[0])
        metrics.set_meter_provider(theirs[1])
        from tasker_actors import telemetry
        telemetry.init_tracing()
        assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == theirs
        trace.get_tracer("x").start_span("theirs").end()
        metrics.get_meter("x").create_counter("c").add(1)
        """,
        **receiver.environment(),
    )
    assert [span.name for span in receiver.spans()] == ["theirs"]
    assert [point.metric for point in receiver.points()] == ["c"]


def test_tracers_and_meters_made_before_phase_2_work_after_it_and_not_before(receiver: OtlpReceiver) -> None:
    run_program(
        """
        from opentelemetry import metrics, trace
        tracer, counter = trace.get_tracer("x"), metrics.get_meter("x").create_counter("c")
        tracer.start_span("early").end()
        counter.add(5)
        from tasker_actors import telemetry
        telemetry.init_tracing()
        tracer.start_span("late").end()
        counter.add(2)
        """,
        **receiver.environment(),
    )
    assert [span.name for span in receiver.spans()] == ["late"]
    assert [point.value for point in receiver.points("c")] == [2]


def test_sampling_is_by_parent_and_by_ratio(receiver: OtlpReceiver) -> None:
    run_program(
        """
        from tasker_actors import telemetry
        telemetry.init_tracing()
        from opentelemetry import propagate, trace
        tracer = trace.get_tracer("x")
        tracer.start_span("root").end()
        for flags in ("00", "01"):
            parent = propagate.extract({"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-{flags}"})
            tracer.start_span("child of " + flags, context=parent).end()
        """,
        **receiver.environment(OTEL_TRACES_SAMPLER_ARG="0.0"),
    )
    (span,) = receiver.spans()
    assert (span.name, span.trace_id, span.parent_id) == ("child of 01", "ab" * 16, "cd" * 8)


def test_the_propagators_are_w3c_trace_context_and_baggage(receiver: OtlpReceiver) -> None:
    ended = run_program(
        """
        from tasker_actors import telemetry
        telemetry.init_tracing()
        from opentelemetry import baggage, context, propagate, trace
        context.attach(baggage.set_baggage("team", "ops"))
        carrier = {}
        with trace.get_tracer("x").start_as_current_span("y"):
            propagate.inject(carrier)
        print(",".join(sorted(carrier)), carrier["baggage"])
        """,
        **receiver.environment(),
    )
    assert ended.printed == ["baggage,traceparent team=ops"]


def test_users_may_log_through_opentelemetry_too(receiver: OtlpReceiver) -> None:
    run_program(
        """
        from tasker_actors import telemetry
        telemetry.init_tracing()
        from opentelemetry._logs import LogRecord, SeverityNumber, get_logger
        get_logger("theirs").emit(LogRecord(body="hello", severity_number=SeverityNumber.WARN, attributes={"a": 1}))
        """,
        **receiver.environment(OTEL_LOGS_ENABLED="true"),
    )
    (log,) = [log for log in receiver.logs() if log.scope == "theirs"]
    assert (log.body, log.attributes, log.resource["service.name"]) == ("hello", {"a": 1}, "tasker-actors")


def test_early_log_records_are_bounded_and_counted(receiver: OtlpReceiver) -> None:
    ended = run_program(
        """
        from tasker_actors import telemetry
        from tasker_actors.telemetry.logging import get_logger
        telemetry.init_console_only()
        for number in range(1500):
            get_logger("x").info("early", number=number)
        telemetry.init_tracing()
        """,
        **receiver.environment(OTEL_LOGS_ENABLED="true"),
    )
    early = [log.attributes["number"] for log in receiver.logs() if log.body == "early"]
    assert early == list(range(500, 1500))
    last = ended.log[-1]
    assert (last["level"], last["log_records_dropped"]) == ("warning", 501)  # with the line of phase 1


def test_lines_that_the_console_lost_for_good_are_told_of_in_the_export(receiver: OtlpReceiver) -> None:
    run_program(
        """
        import sys
        from tasker_actors import telemetry
        from tasker_actors.telemetry.logging import get_logger
        telemetry.init_tracing()
        sys.stderr.close()
        for number in range(3):
            get_logger("x").info("not on the console", number=number)
        telemetry.shut_down()
        sys.stderr = None
        """,
        **receiver.environment(OTEL_LOGS_ENABLED="true"),
    )
    assert [log.body for log in receiver.logs()].count("not on the console") == 3
    (told,) = [log for log in receiver.logs() if "lost_lines" in log.attributes]
    assert (told.severity, told.attributes["lost_lines"]) == ("WARNING", 3)


def test_what_was_counted_before_phase_2_is_in_the_figures_and_in_the_export(
    receiver: OtlpReceiver, protocol: str, tmp_path: Path
) -> None:
    """A worker's counters are in its memory block from the start, not in OpenTelemetry's instruments."""
    ended = run_program(
        f"""
        from pathlib import Path
        from tasker_actors import telemetry
        from tasker_actors.stats.block import BlockWriter, create_block
        from tasker_actors.telemetry.metrics import ACTORS_RESTARTS
        telemetry.init_console_only(worker=3)
        path = create_block(Path({str(tmp_path)!r}), slot=3, incarnation=1, executors=1)
        counter = BlockWriter(path).counter(ACTORS_RESTARTS, ("event_bus", "error"))
        counter.add(2)
        telemetry.init_tracing()

        from tasker_actors.stats.book import StatsBook, WorkerIdentity
        from tasker_actors.stats.otlp import metrics_request
        from tasker_actors.stats.reader import BlockReader
        from tasker_actors.telemetry.phases import exporter
        book = StatsBook()
        book.attach(WorkerIdentity(3, 1, "worker"), BlockReader(path))
        print(book.figures().counters[ACTORS_RESTARTS][("event_bus", "error")])
        exporter().add_metrics_source(lambda: metrics_request(book.figures()))
        counter.add()
        telemetry.shut_down(10000)
        """,
        **receiver.environment(protocol),
    )
    assert ended.events == [PHASE_1, PHASE_2, STOPPED]
    assert ended.printed == ["2"]
    (point,) = receiver.points("tasker.actors.restarts.total")
    assert (point.value, point.attributes) == (3, {"actor": "event_bus", "reason": "error"})


def test_the_end_of_the_program_exports_what_waits(receiver: OtlpReceiver, protocol: str) -> None:
    run_program(
        """
        from tasker_actors import telemetry
        telemetry.init_tracing()
        from opentelemetry import trace
        trace.get_tracer("x").start_span("last").end()
        """,
        **receiver.environment(protocol, OTEL_BSP_SCHEDULE_DELAY="3600000"),
    )
    assert [span.name for span in receiver.spans()] == ["last"]


def test_a_program_ends_and_logs_without_a_collector(protocol: str) -> None:
    environ = OtlpReceiver().environment(protocol, OTEL_LOGS_ENABLED="true")
    ended = run_program(EVERYTHING, **(environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": dead_endpoint()}))
    assert ended.events[:4] == [PHASE_1, "before phase 2", PHASE_2, "inside"]
    last = ended.log[-1]
    assert (last["spans_dropped"], last["level"]) == (2, "warning")
    assert last["log_records_dropped"] >= 4


def test_a_user_may_force_a_flush(receiver: OtlpReceiver) -> None:
    run_program(
        """
        import os
        from tasker_actors import telemetry
        telemetry.init_tracing()
        from opentelemetry import trace
        trace.get_tracer("x").start_span("flushed").end()
        assert trace.get_tracer_provider().force_flush(10000)
        os._exit(0)
        """,
        **receiver.environment(OTEL_BSP_SCHEDULE_DELAY="3600000"),
    )
    assert [span.name for span in receiver.spans()] == ["flushed"]


# forks

FORK = """
    import os, threading, time
    from tasker_actors import telemetry
    from tasker_actors.telemetry.logging import get_logger
    from tasker_actors.telemetry.phases import exporter
    telemetry.init_tracing(worker=4)
    from opentelemetry import metrics, trace
    tracer, counter = trace.get_tracer("x"), metrics.get_meter("x").create_counter("c")
    tracer.start_span("first of parent").end()
    counter.add(100)
    if os.environ.get("CONNECTED"):
        exporter().flush(time.monotonic() + 10)
    tracer.start_span("waits in parent").end()
    inherited = exporter()
    pid = os.fork()
    if pid == 0:
        assert exporter() is None
        assert inherited.waiting_spans == 0
        assert not inherited.flush(time.monotonic() + 3600)
        assert threading.active_count() == 1
        get_logger("child").info("in phase 1")
        tracer.start_span("lost in phase 1").end()
        counter.add(50)
        telemetry.init_tracing()
        tracer.start_span("of child").end()
        counter.add(7)
        telemetry.shut_down(10000)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    tracer.start_span("of parent, later").end()
    counter.add(1)
    telemetry.shut_down(10000)
"""


def check_fork(ended: Ended, receiver: OtlpReceiver) -> None:
    parent, child = ended.log[0]["pid"], next(line for line in ended.log if line["event"] == "in phase 1")["pid"]
    assert parent != child
    by_pid = {
        pid: sorted(span.name for span in receiver.spans() if span.resource["process.pid"] == pid)
        for pid in (parent, child)
    }
    assert by_pid == {parent: ["first of parent", "of parent, later", "waits in parent"], child: ["of child"]}
    counts = {
        pid: [point.value for point in receiver.points("c") if point.resource["process.pid"] == pid][-1]
        for pid in (parent, child)
    }
    assert counts == {parent: 101, child: 7}
    instances = {(span.resource["process.pid"], span.resource["service.instance.id"]) for span in receiver.spans()}
    assert len({instance for _, instance in instances}) == len(instances) == 2
    assert {span.resource["tasker.worker.slot"] for span in receiver.spans()} == {4}
    assert [line["event"] for line in ended.log if line["pid"] == child] == ["in phase 1", PHASE_1, PHASE_2, STOPPED]


@pytest.mark.parametrize("connected", ["", "yes"])
def test_a_fork_goes_back_to_phase_1_and_may_run_phase_2_again(
    receiver: OtlpReceiver, protocol: str, connected: str
) -> None:
    environ = receiver.environment(protocol, OTEL_BSP_SCHEDULE_DELAY="3600000", CONNECTED=connected)
    check_fork(run_program(FORK, **environ), receiver)


def test_a_fork_while_a_request_is_under_way(receiver: OtlpReceiver, protocol: str) -> None:
    """The collector hangs while the process forks; then parent and child both export."""
    source = """
        import os, sys
        from tasker_actors import telemetry
        telemetry.init_tracing()
        from opentelemetry import trace
        tracer = trace.get_tracer("x")
        tracer.start_span("under way").end()
        import time
        from tasker_actors.telemetry.phases import exporter
        exporter().flush(time.monotonic() + 0.3)
        pid = os.fork()
        telemetry.init_tracing()
        tracer.start_span("of parent" if pid else "of child").end()
        if pid == 0:
            telemetry.shut_down(10000)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        telemetry.shut_down(10000)
    """
    receiver.hang_first(1)
    run_program(source, **receiver.environment(protocol, OTEL_EXPORTER_OTLP_TIMEOUT="2"))
    assert {span.name for span in receiver.spans()} == {"under way", "of parent", "of child"}


def test_forks_of_several_threads_at_once(receiver: OtlpReceiver, protocol: str) -> None:
    source = """
        import os, threading
        from tasker_actors import telemetry
        telemetry.init_tracing()
        from opentelemetry import trace
        tracer = trace.get_tracer("x")
        failed = []

        def fork():
            for _ in range(3):
                tracer.start_span("of parent").end()
                pid = os.fork()
                if pid == 0:
                    telemetry.init_tracing()
                    tracer.start_span("of child").end()
                    telemetry.shut_down(10000)
                    os._exit(0)
                failed.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        threads = [threading.Thread(target=fork) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == [0] * 9, failed
        telemetry.shut_down(10000)
    """
    run_program(source, **receiver.environment(protocol))
    # A request that a fork cut is sent again, though the collector may have it already: the same spans, the same ids.
    spans = {(span.span_id, span.resource["process.pid"]): span.name for span in receiver.spans()}
    names = list(spans.values())
    assert (names.count("of parent"), names.count("of child")) == (9, 9)


def test_a_fork_while_metrics_are_collected(receiver: OtlpReceiver) -> None:
    """The exporter's thread holds locks of the SDK then: the child exports spans all the same, and nothing hangs."""
    source = """
        import os, select, threading, time
        from tasker_actors import telemetry
        telemetry.init_tracing()
        from opentelemetry import metrics, trace
        from tasker_actors.telemetry.phases import exporter
        collecting, go_on = threading.Event(), threading.Event()

        def observe(options):
            collecting.set()
            go_on.wait(30)
            return [metrics.Observation(5)]

        metrics.get_meter("x").create_observable_gauge("g", [observe])
        flush = threading.Thread(target=exporter().flush, args=(time.monotonic() + 30,))
        flush.start()
        assert collecting.wait(30)
        pid = os.fork()
        if pid == 0:
            telemetry.init_tracing()
            trace.get_tracer("x").start_span("of child").end()
            telemetry.shut_down(10000)
            os._exit(0)
        has_ended, _, _ = select.select([os.pidfd_open(pid)], [], [], 20)
        if not has_ended:
            os.kill(pid, 9)
        _, status = os.waitpid(pid, 0)
        go_on.set()
        flush.join()
        telemetry.shut_down(10000)
        assert has_ended, "the child hangs"
        assert os.waitstatus_to_exitcode(status) == 0
    """
    ended = run_program(source, **receiver.environment())
    assert [span.name for span in receiver.spans()] == ["of child"]
    assert {point.value for point in receiver.points("g")} == {5}
    assert GIVEN_UP in ended.events


def test_a_fork_before_phase_2_inherits_no_early_records(receiver: OtlpReceiver) -> None:
    ended = run_program(
        """
        import os
        from tasker_actors import telemetry
        from tasker_actors.telemetry.logging import get_logger
        telemetry.init_console_only()
        get_logger("x").info("of parent")
        pid = os.fork()
        telemetry.init_tracing()
        telemetry.shut_down(10000)
        if pid == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """,
        **receiver.environment(OTEL_LOGS_ENABLED="true"),
    )
    assert [log.body for log in receiver.logs()].count("of parent") == 1
    assert json.dumps(ended.events).count(PHASE_2) == 2
