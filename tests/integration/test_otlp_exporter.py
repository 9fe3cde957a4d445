"""The exporter against real collectors: one that answers, one that is dead, that hangs, that comes back, that refuses.

Both protocols.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import DebugInfo, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from support.exporting import RESOURCE, Lines, Spans, exporter_to
from support.logging_state import logging_put_back
from support.otlp_receiver import LOGS, METRICS, TRACES, OtlpReceiver, dead_endpoint, silent_endpoint
from support.waiting import until

from tasker_actors.errors import ConfigurationError
from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.exporter import Exporter
from tasker_actors.telemetry.logging import init_console_only
from tasker_actors.telemetry.otlp import Failed, Refused, SendResult, Sent, Signal
from tasker_actors.telemetry.otlp_grpc import GrpcSender
from tasker_actors.telemetry.otlp_logs import LogExport
from tasker_actors.telemetry.otlp_requests import MAX_REQUEST_BYTES

FAILS = "Export to the collector fails; what does not fit the buffer is dropped and counted"
WORKS = "Export to the collector works again"
STOPPED = "Telemetry export stopped"
INCOMPLETE = "Telemetry export stopped, and not everything was exported"

Start = Callable[..., Exporter]


@pytest.fixture(params=["grpc", "http/protobuf"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as one:
        yield one


@pytest.fixture
def lines() -> Iterator[Lines]:
    stream = Lines()
    with logging_put_back():
        init_console_only(TelemetryConfig.from_environ({"LOG_FORMAT": "json"}), stream=stream)
        yield stream


@pytest.fixture
def start(protocol: str, lines: Lines) -> Iterator[Start]:
    """Start an exporter to an endpoint; all are stopped at the end."""
    with ExitStack() as stack:

        def make(endpoint: str, **variables: Any) -> Exporter:
            one = exporter_to(endpoint, protocol, **variables)
            one.start()
            stack.callback(lambda: one.shutdown(time.monotonic() + 1))
            return one

        yield make


@pytest.fixture
def to(protocol: str, receiver: OtlpReceiver, start: Start) -> Start:
    """Start an exporter to the receiver."""
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    return lambda **variables: start(endpoint, **variables)


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def line(number: int = 0) -> dict[str, object]:
    return {"timestamp": "2025-12-01T10:30:00.000000Z", "level": "info", "logger": "tests", "event": "x", "n": number}


# what arrives


def test_spans_arrive_with_scope_and_resource(to: Start, receiver: OtlpReceiver) -> None:
    batch = Spans(3)
    to().offer(batch)
    until(lambda: len(receiver.spans()) == 3)
    assert {(span.name, span.scope, span.resource["service.name"]) for span in receiver.spans()} == {
        ("span", "tasker_actors", "tests")
    }
    assert batch.encoded_in is not None
    assert batch.encoded_in.name == "telemetry-exporter"


def test_spans_of_several_scopes_are_grouped(to: Start, receiver: OtlpReceiver) -> None:
    exporter = to(OTEL_BSP_SCHEDULE_DELAY="60000")
    scopes = [InstrumentationScope(name=name) for name in ("a", "b")]
    for number in range(6):
        exporter.offer(Spans(1), scopes[number % 2])
    assert exporter.flush(soon())
    (request,) = receiver.requests(TRACES)
    assert [(one.scope.name, len(one.spans)) for one in request.message.resource_spans[0].scope_spans] == [
        ("a", 3),
        ("b", 3),
    ]


def test_a_full_request_leaves_before_the_delay_is_over(to: Start, receiver: OtlpReceiver) -> None:
    exporter = to(OTEL_BSP_SCHEDULE_DELAY="3600000", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    exporter.offer(Spans(9))
    exporter.offer(Spans(1))
    until(lambda: len(receiver.spans()) == 10)


def test_requests_have_the_configured_size(to: Start, receiver: OtlpReceiver) -> None:
    exporter = to(OTEL_BSP_SCHEDULE_DELAY="3600000", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    exporter.offer(Spans(25))
    assert exporter.flush(soon())
    assert [len(one.message.resource_spans[0].scope_spans[0].spans) for one in receiver.requests(TRACES)] == [10, 10, 5]


def test_what_is_larger_than_a_collector_takes_goes_in_parts(to: Start, receiver: OtlpReceiver) -> None:
    exporter = to()
    exporter.offer(Spans(12, padding=MAX_REQUEST_BYTES // 4))
    assert exporter.flush(soon(30))
    assert len(receiver.spans()) == 12
    assert exporter.spans_dropped == 0


def test_headers_and_paths(to: Start, receiver: OtlpReceiver, protocol: str) -> None:
    exporter = to(OTEL_EXPORTER_OTLP_HEADERS="Api-Key=a%20b")
    exporter.offer(Spans(1))
    LogExport(exporter)(line())
    exporter.add_metrics_source(one_metric)
    assert exporter.flush(soon())
    assert {one.signal for one in receiver.requests()} == {TRACES, METRICS, LOGS}
    assert {(one.protocol, one.headers["api-key"]) for one in receiver.requests()} == {(protocol, "a b")}


def test_log_lines_arrive(to: Start, receiver: OtlpReceiver) -> None:
    exporter = to()
    export = LogExport(exporter)
    for number in range(3):
        export(line(number))
    until(lambda: len(receiver.logs()) == 3)
    assert [log.attributes["n"] for log in receiver.logs()] == [0, 1, 2]
    assert {(log.body, log.scope, log.resource["service.name"]) for log in receiver.logs()} == {("x", "tests", "tests")}


# TLS


@pytest.fixture(scope="module")
def key_and_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes the certificate: install it")
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return key, certificate


def test_https_is_tls_with_the_configured_authority(
    start: Start, protocol: str, key_and_certificate: tuple[Path, Path]
) -> None:
    with OtlpReceiver(tls=key_and_certificate) as receiver:
        endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
        exporter = start(endpoint, OTEL_EXPORTER_OTLP_CERTIFICATE=str(key_and_certificate[1]))
        exporter.offer(Spans(2))
        assert exporter.flush(soon())
        assert len(receiver.spans()) == 2


def test_a_certificate_that_nobody_vouches_for_gets_nothing(
    start: Start, protocol: str, key_and_certificate: tuple[Path, Path], lines: Lines
) -> None:
    with OtlpReceiver(tls=key_and_certificate) as receiver:
        exporter = start(receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint)
        exporter.offer(Spans(2))
        until(lambda: FAILS in lines.events())
        exporter.shutdown(soon(1))
        assert receiver.spans() == []
    assert exporter.spans_dropped == 2


# metrics


def one_metric() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.sum.data_points.add(as_int=7)
    return request


def test_metrics_are_exported_every_interval(to: Start, receiver: OtlpReceiver) -> None:
    to(OTEL_METRIC_EXPORT_INTERVAL="20").add_metrics_source(one_metric)
    until(lambda: len(receiver.points("m")) >= 3)
    assert {(point.value, point.resource["service.name"]) for point in receiver.points()} == {(7, "tests")}


def test_metrics_are_exported_at_the_end(to: Start, receiver: OtlpReceiver) -> None:
    exporter = to()
    exporter.add_metrics_source(one_metric)
    exporter.add_metrics_source(lambda: None)
    exporter.shutdown(soon())
    assert len(receiver.points("m")) == 1


def test_a_source_that_raises_costs_its_own_figures_only(to: Start, receiver: OtlpReceiver, lines: Lines) -> None:
    exporter = to()

    def broken() -> ExportMetricsServiceRequest:
        message = "broken by the test"
        raise RuntimeError(message)

    exporter.add_metrics_source(broken)
    exporter.add_metrics_source(one_metric)
    assert exporter.flush(soon())
    assert len(receiver.points("m")) == 1
    assert "Metrics could not be collected" in lines.events()


def test_metrics_that_are_too_large_go_one_by_one(to: Start, receiver: OtlpReceiver) -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for name in ("a", "b", "c"):
        metrics.add(name=name, description="x" * (MAX_REQUEST_BYTES // 2)).sum.data_points.add(as_int=1)
    exporter = to()
    exporter.add_metrics_source(lambda: request)
    assert exporter.flush(soon())
    assert [point.metric for point in receiver.points()] == ["a", "b", "c"]


# bounds and losses


def test_offering_never_waits_and_what_does_not_fit_is_counted(start: Start) -> None:
    """The collector never answers, so that nothing leaves: as many as fit wait, and all others are lost at once."""
    dropped: Counter[str] = Counter()
    with silent_endpoint() as endpoint:
        exporter = start(endpoint, OTEL_BSP_MAX_QUEUE_SIZE="100", OTEL_BSP_SCHEDULE_DELAY="3600000")
        exporter.count_drops(lambda count, reason: dropped.update({reason: count}), lambda *_: None)
        for _ in range(1000):
            exporter.offer(Spans(7))
            assert exporter.waiting_spans <= 100
        began = time.monotonic()
        exporter.shutdown(began + 0.2)
    assert exporter.spans_dropped == 7000
    assert dropped == {"too_many": 7000 - 98, "stopped": 98}


def test_a_batch_larger_than_the_whole_queue_is_exported_when_nothing_else_waits(
    to: Start, receiver: OtlpReceiver
) -> None:
    exporter = to(OTEL_BSP_MAX_QUEUE_SIZE="10", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    exporter.offer(Spans(35))
    until(lambda: len(receiver.spans()) == 35)
    assert exporter.spans_dropped == 0


def test_losses_from_before_somebody_counted_are_told(start: Start) -> None:
    exporter = start(dead_endpoint(), OTEL_BSP_MAX_QUEUE_SIZE="10", OTEL_BSP_SCHEDULE_DELAY="3600000")
    exporter.offer(Spans(5))
    exporter.offer(Spans(6))
    exporter.count_lost_logs(3, "too_many")
    spans: list[tuple[int, str]] = []
    log_records: list[tuple[int, str]] = []
    exporter.count_drops(lambda *lost: spans.append(lost), lambda *lost: log_records.append(lost))
    exporter.offer(Spans(7))
    exporter.count_lost_logs(0, "too_many")
    exporter.count_lost_logs(2, "too_many")
    assert spans == [(6, "too_many"), (7, "too_many")]
    assert log_records == [(3, "too_many"), (2, "too_many")]
    assert (exporter.spans_dropped, exporter.log_records_dropped) == (13, 5)


def test_log_records_are_bounded_too(start: Start) -> None:
    exporter = start(dead_endpoint(), OTEL_BSP_SCHEDULE_DELAY="3600000", OTEL_BLRP_MAX_QUEUE_SIZE="1000")
    dropped: list[int] = []
    exporter.count_drops(lambda *_: None, lambda count, _: dropped.append(count))
    export = LogExport(exporter)
    for number in range(1000 + 2000):
        export(line(number))
    exporter.shutdown(soon(0.5))
    assert exporter.log_records_dropped == sum(dropped) == 1000 + 2000


def test_what_waits_is_bounded_in_bytes_too(start: Start) -> None:
    dropped: Counter[tuple[str, str]] = Counter()
    exporter = start(dead_endpoint(), max_queue_bytes=100_000, OTEL_BSP_SCHEDULE_DELAY="3600000")
    exporter.count_drops(
        lambda count, reason: dropped.update({("spans", reason): count}),
        lambda count, reason: dropped.update({("log_records", reason): count}),
    )
    export = LogExport(exporter)
    for number in range(20):
        export({**line(number), "text": "x" * 20_000})
        exporter.offer(Spans(1, padding=20_000))
    assert dropped == {("spans", "too_large"): 15, ("log_records", "too_large"): 16}
    exporter.shutdown(soon(0.5))


def test_a_line_after_the_end_is_on_the_console_and_not_lost(to: Start) -> None:
    exporter = to()
    export = LogExport(exporter)
    exporter.shutdown(soon())
    export(line())
    assert exporter.log_records_dropped == 0


def test_a_batch_that_cannot_be_built_is_lost_alone(to: Start, receiver: OtlpReceiver, lines: Lines) -> None:
    class Broken(Spans):
        def encode(self) -> list[object]:  # type: ignore[override]  # it never returns
            message = "broken by the test"
            raise ValueError(message)

    exporter = to(OTEL_BSP_SCHEDULE_DELAY="3600000")
    exporter.offer(Broken(4))
    exporter.offer(Spans(2))
    assert exporter.flush(soon())
    assert len(receiver.spans()) == 2
    assert exporter.spans_dropped == 4
    assert "A batch could not be encoded" in lines.events()


def test_what_a_collector_rejects_is_counted(to: Start, receiver: OtlpReceiver, lines: Lines) -> None:
    receiver.rejecting = 2
    exporter = to()
    for _ in range(3):
        exporter.offer(Spans(5))
        assert exporter.flush(soon())
    assert exporter.spans_dropped == 6
    assert lines.events().count("The collector rejected part of an export") == 1


def test_what_a_collector_refuses_is_dropped_with_one_warning(to: Start, receiver: OtlpReceiver, lines: Lines) -> None:
    receiver.refusing = grpc.StatusCode.INVALID_ARGUMENT
    exporter = to()
    for _ in range(3):
        exporter.offer(Spans(5))
        assert exporter.flush(soon())
    assert exporter.spans_dropped == 15
    assert lines.events().count(FAILS) == 1
    receiver.refusing = None
    exporter.offer(Spans(1))
    assert exporter.flush(soon())
    assert lines.events().count(WORKS) == 1


# collectors that fail


def test_a_collector_that_comes_back_gets_what_waited(
    to: Start, receiver: OtlpReceiver, lines: Lines, protocol: str
) -> None:
    exporter = to()
    exporter.offer(Spans(1, "before"))
    assert exporter.flush(soon())
    receiver.stop()
    exporter.offer(Spans(2, "meanwhile"))
    until(lambda: FAILS in lines.events())
    exporter.offer(Spans(3, "later"))
    receiver.start()
    until(lambda: len(receiver.spans()) >= 6, 30)
    assert exporter.spans_dropped == 0
    until(lambda: lines.events().count(WORKS) == 1)
    assert lines.events().count(FAILS) == 1


def test_a_busy_collector_gets_the_request_again(to: Start, receiver: OtlpReceiver) -> None:
    receiver.refusing = grpc.StatusCode.UNAVAILABLE
    exporter = to()
    exporter.offer(Spans(4))
    assert not exporter.flush(soon(0.3))
    receiver.refusing = None
    until(lambda: len(receiver.spans()) == 4, 30)
    assert exporter.spans_dropped == 0


def retry_after(code: grpc.StatusCode, seconds: int) -> bytes:
    """What grpc-go puts in the trailer for a status with `RetryInfo`."""
    status = Status(code=code.value[0], message="refused by the test")
    status.details.add().Pack(DebugInfo(detail="before it"))
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    return bytes(status.SerializeToString())


BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("details", "result"),
    [
        (retry_after(BUSY, 7), Failed("RESOURCE_EXHAUSTED: refused by the test", 7.0)),
        (retry_after(BUSY, 0), Failed("RESOURCE_EXHAUSTED: refused by the test", 0.0)),
        (Status(code=8).SerializeToString(), Refused("RESOURCE_EXHAUSTED: refused by the test")),
        (b"", Refused("RESOURCE_EXHAUSTED: refused by the test")),
        (b"\xff\xff", Refused("RESOURCE_EXHAUSTED: refused by the test")),
    ],
    ids=["later", "at once", "says nothing", "nothing", "unreadable"],
)
def test_grpc_collectors_say_in_the_trailer_when_to_come_again(
    details: bytes, result: SendResult, receiver: OtlpReceiver
) -> None:
    """As the OTLP specification has it: without `RetryInfo` a full collector is not to get the request again."""
    receiver.refusing, receiver.details = BUSY, details
    sender = GrpcSender(receiver.grpc_endpoint, {}, None)
    assert sender.send(Signal.TRACES, b"", 10) == result
    sender.disconnect()


# proxies


def test_a_proxy_of_the_environment_is_used_over_http(
    receiver: OtlpReceiver, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", receiver.http_endpoint)
    exporter = exporter_to("http://collector.invalid:4318", "http/protobuf")
    exporter.start()
    exporter.offer(Spans(2))
    assert exporter.flush(soon())
    exporter.shutdown(soon())
    assert len(receiver.spans()) == 2


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://127.0.0.1:1", "http://127.0.0.1:1"])
def test_no_proxy_is_asked_for_a_collector_on_this_machine(
    proxy: str, protocol: str, receiver: OtlpReceiver, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("all_proxy", "http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, proxy)
    exporter = exporter_to(receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint, protocol)
    exporter.start()
    exporter.offer(Spans(2))
    assert exporter.flush(soon())
    exporter.shutdown(soon())
    assert len(receiver.spans()) == 2


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_an_error_with_its_reason(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=r"proxy for http://collector\.invalid:4318 cannot .* NO_PROXY"):
        exporter_to("http://collector.invalid:4318", "http/protobuf")


def test_an_export_that_takes_too_long_is_given_up(start: Start) -> None:
    exporter = start(dead_endpoint(), OTEL_BSP_EXPORT_TIMEOUT="100")
    exporter.offer(Spans(4))
    until(lambda: exporter.spans_dropped == 4)


def test_a_request_that_is_not_answered_ends_by_its_time_limit(to: Start, receiver: OtlpReceiver, lines: Lines) -> None:
    receiver.hang()
    exporter = to(OTEL_EXPORTER_OTLP_TIMEOUT="0.1")
    exporter.offer(Spans(4))
    until(lambda: FAILS in lines.events())
    receiver.let_go()
    until(lambda: len(receiver.spans()) >= 4, 30)


@pytest.mark.parametrize("under_way", [False, True], ids=["waiting", "under way"])
@pytest.mark.parametrize("kind", ["dead", "silent", "hanging"])
def test_no_collector_delays_the_end(kind: str, under_way: bool, start: Start, protocol: str, lines: Lines) -> None:
    """Its own deadline is the proof: without it the end would take the request's ten seconds, or thirty."""
    with ExitStack() as stack:
        if kind == "dead":
            endpoint = dead_endpoint()
        elif kind == "silent":
            endpoint = stack.enter_context(silent_endpoint())
        else:
            receiver = stack.enter_context(OtlpReceiver())
            receiver.hang()
            endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
        exporter = start(endpoint)
        exporter.offer(Spans(10))
        if under_way:
            until(lambda: exporter.waiting_spans == 0)
        began = time.monotonic()
        exporter.shutdown(began + 0.5)
        assert time.monotonic() - began < 5
    assert exporter.spans_dropped == 10
    assert INCOMPLETE in lines.events()


def test_an_end_after_the_end_returns_at_once(to: Start, receiver: OtlpReceiver) -> None:
    """A process ends its export, and then the interpreter does: a request that hangs is waited for once."""
    receiver.hang()
    exporter = to(OTEL_EXPORTER_OTLP_TIMEOUT="3600", OTEL_BSP_EXPORT_TIMEOUT="3600000")
    exporter.offer(Spans(10))
    until(lambda: exporter.waiting_spans == 0)
    exporter.shutdown(soon(0.1))
    began = time.monotonic()
    exporter.shutdown(began + 90)
    assert time.monotonic() - began < 45


def test_a_dead_collector_does_not_even_use_up_the_time_of_the_end(start: Start) -> None:
    exporter = start(dead_endpoint(), OTEL_BSP_EXPORT_TIMEOUT="3600000")
    exporter.offer(Spans(10))
    began = time.monotonic()
    exporter.shutdown(began + 90)
    assert time.monotonic() - began < 45
    assert exporter.spans_dropped == 10


def test_the_end_exports_what_waits(to: Start, receiver: OtlpReceiver, lines: Lines) -> None:
    exporter = to(OTEL_BSP_SCHEDULE_DELAY="3600000")
    exporter.offer(Spans(100))
    LogExport(exporter)(line())
    exporter.shutdown(soon())
    assert len(receiver.spans()) == 100
    assert len(receiver.logs()) == 1
    assert lines.events()[-1] == STOPPED


def test_what_comes_after_the_end_is_counted(to: Start) -> None:
    exporter = to()
    exporter.shutdown(soon())
    exporter.offer(Spans(3))
    assert exporter.spans_dropped == 3


def test_two_threads_may_end_it_at_once(to: Start, receiver: OtlpReceiver, lines: Lines) -> None:
    exporter = to(OTEL_BSP_SCHEDULE_DELAY="3600000")
    exporter.offer(Spans(100))
    threads = [threading.Thread(target=exporter.shutdown, args=(soon(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.spans()) == 100
    assert lines.events().count(STOPPED) == 1


def test_a_flush_after_the_end_returns_at_once(to: Start) -> None:
    exporter = to()
    exporter.shutdown(soon())
    assert not exporter.flush(soon(3600))


# what must not stop the exporter's thread, or hold up the other signals


class Collector:
    """A way to a collector that does what the test says."""

    def __init__(self, send: Callable[[Signal], SendResult]) -> None:
        self._send = send

    def send(self, signal: Signal, body: bytes, timeout_s: float) -> SendResult:
        """Say what comes of it."""
        return self._send(signal)

    def disconnect(self) -> None:
        """Nothing is connected."""


@pytest.fixture
def through(lines: Lines) -> Iterator[Callable[..., Exporter]]:
    """Make an exporter with this sender; it is not started, and stopped at the end."""
    with ExitStack() as stack:

        def make(send: Callable[[Signal], SendResult], **variables: str) -> Exporter:
            environ = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10", "OTEL_BSP_SCHEDULE_DELAY": "3600000", **variables}
            exporter = Exporter(Collector(send), TelemetryConfig.from_environ(environ), RESOURCE)
            stack.callback(lambda: exporter.shutdown(time.monotonic() + 1))
            return exporter

        yield make


def test_signals_take_turns(through: Callable[..., Exporter]) -> None:
    sent: list[Signal] = []

    def send(signal: Signal) -> SendResult:
        sent.append(signal)
        return Refused("for the test")

    exporter = through(send)
    exporter.add_metrics_source(one_metric)
    for _ in range(4):
        exporter.offer(Spans(10))
    LogExport(exporter)(line())
    flush = threading.Thread(target=exporter.flush, args=(soon(),))
    flush.start()
    until(lambda: exporter._flushes != [])
    exporter.start()
    flush.join()
    assert sent == [Signal.TRACES, Signal.LOGS, Signal.METRICS, *[Signal.TRACES] * 3]
    assert (exporter.spans_dropped, exporter.log_records_dropped) == (40, 1)


def test_a_flush_ends_although_more_comes_than_leaves(through: Callable[..., Exporter]) -> None:
    """Each request that is sent brings another one."""

    def send(signal: Signal) -> SendResult:
        exporter.offer(Spans(10))
        return Sent()

    exporter = through(send)
    exporter.offer(Spans(10))
    exporter.start()
    assert exporter.flush(soon())


def test_an_error_that_nobody_expects_is_logged_once_and_the_thread_goes_on(
    through: Callable[..., Exporter], lines: Lines
) -> None:
    broken = True

    def send(signal: Signal) -> SendResult:
        if broken:
            message = "broken by the test"
            raise KeyError(message)
        return Sent()

    exporter = through(send)
    exporter.start()
    for _ in range(2):
        exporter.offer(Spans(4))
        assert not exporter.flush(soon())
    assert exporter.spans_dropped == 8
    assert lines.events().count("Telemetry could not be exported; further errors are not shown") == 1
    broken = False
    exporter.offer(Spans(4))
    assert exporter.flush(soon())
    assert exporter.spans_dropped == 8


def test_a_second_end_does_not_wait_for_what_the_first_could_not_end(through: Callable[..., Exporter]) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def send(signal: Signal) -> SendResult:
        under_way.set()
        go_on.wait(30)
        return Sent()

    exporter = through(send)
    exporter.offer(Spans(10))
    exporter.start()
    assert under_way.wait(30)
    exporter.shutdown(soon(0.1))
    second = threading.Thread(target=exporter.shutdown, args=(soon(20),))
    second.start()
    second.join(10)
    ended = not second.is_alive()
    go_on.set()
    second.join()
    assert ended
