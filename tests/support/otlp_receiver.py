"""A real OTLP collector for tests: gRPC and HTTP on free ports of loopback, keeping what it receives.

As a program (`python -m support.otlp_receiver [--discard]`) it prints its ports as one JSON line, and for each line
that it reads from its standard input what it has received; it ends with its standard input.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

Attributes = Mapping[str, Any]

TRACES, METRICS, LOGS = "traces", "metrics", "logs"
_GRPC_THREADS = 32
_MAX_MESSAGE_BYTES = 4 << 20  # as a collector has it by default
_TYPES: Mapping[str, tuple[type[Any], type[Any]]] = {
    TRACES: (trace_pb.ExportTraceServiceRequest, trace_pb.ExportTraceServiceResponse),
    METRICS: (metrics_pb.ExportMetricsServiceRequest, metrics_pb.ExportMetricsServiceResponse),
    LOGS: (logs_pb.ExportLogsServiceRequest, logs_pb.ExportLogsServiceResponse),
}


@dataclass(frozen=True)
class ReceivedSpan:
    """A span: ids in hex, times in ns, status as a number (0 unset, 1 ok, 2 error), events as (name, attributes)."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    status: int
    status_message: str
    events: Sequence[tuple[str, Attributes]]
    links: Sequence[tuple[str, str]]
    trace_state: str
    scope: str
    resource: Attributes


@dataclass(frozen=True)
class ReceivedPoint:
    """One figure of a metric: `value` is a number, or for a histogram (count, sum, bucket counts)."""

    metric: str
    unit: str
    kind: str
    attributes: Attributes
    value: Any
    start_ns: int
    scope: str
    resource: Attributes
    exemplars: Sequence[tuple[str, str, float]] = ()


@dataclass(frozen=True)
class ReceivedLog:
    """A log record."""

    body: Any
    severity: str
    severity_number: int
    time_ns: int
    attributes: Attributes
    trace_id: str
    span_id: str
    scope: str
    resource: Attributes


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it came, with its metadata (gRPC) or headers (HTTP), names in lower case."""

    signal: str
    protocol: str
    headers: Mapping[str, str]
    message: Any = field(repr=False)


class OtlpReceiver:
    """A collector. `start` and `stop` may alternate; it keeps its ports, and what it has received, over a stop.

    `hang` makes it accept requests and answer none; `refusing` makes it answer each request with this gRPC status, over
    gRPC with `details` in the trailer for them (over HTTP: 503 for UNAVAILABLE, else 400); `rejecting` makes it reject
    so many items of each. `tls` is a key and its certificate, as PEM files. With `discard` nothing is parsed or kept,
    and only requests are counted.
    """

    def __init__(self, *, discard: bool = False, tls: tuple[Path, Path] | None = None) -> None:
        self.discard = discard
        self._tls = tls
        self.rejecting = 0
        self.refusing: grpc.StatusCode | None = None
        self.details = b""
        self._let_go = threading.Event()
        self._let_go.set()
        self._stopped = threading.Event()
        self._to_hang = 0
        self._lock = threading.Lock()
        self._requests: list[ReceivedRequest] = []
        self._counts: Counter[str] = Counter()
        self._grpc: grpc.Server | None = None
        self._http: _HttpServer | None = None
        self.grpc_port = 0
        self.http_port = 0

    # life

    def start(self) -> OtlpReceiver:
        """Listen, on the ports that it had before if it had any."""
        self._stopped.clear()
        server = grpc.server(
            ThreadPoolExecutor(_GRPC_THREADS),
            options=(("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)),
        )
        server.add_generic_rpc_handlers((_Discarding(self),)) if self.discard else _register(self, server)
        address = f"127.0.0.1:{self.grpc_port}"
        if self._tls is None:
            self.grpc_port = server.add_insecure_port(address)
        else:
            key, certificate = (path.read_bytes() for path in self._tls)
            self.grpc_port = server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
        server.start()
        self._grpc = server
        self._http = _HttpServer(("127.0.0.1", self.http_port), _handler(self))
        self.http_port = self._http.server_port
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls[1], self._tls[0])
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on; requests under way are cut."""
        self._let_go.set()
        self._stopped.set()
        if self._grpc is not None:
            self._grpc.stop(grace=None).wait()
            self._grpc = None
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http.cut()
            self._http = None

    def __enter__(self) -> OtlpReceiver:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def grpc_endpoint(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` is for gRPC."""
        return f"{self._scheme}://127.0.0.1:{self.grpc_port}"

    @property
    def http_endpoint(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` is for http/protobuf."""
        return f"{self._scheme}://127.0.0.1:{self.http_port}"

    @property
    def _scheme(self) -> str:
        return "http" if self._tls is None else "https"

    def environment(self, protocol: str = "grpc", **variables: str) -> dict[str, str]:
        """Variables that make a process export here, soon."""
        return {
            "TELEMETRY_ENABLED": "true",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.grpc_endpoint if protocol == "grpc" else self.http_endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            **variables,
        }

    def hang(self) -> None:
        """Answer nothing from now on."""
        self._let_go.clear()

    def hang_first(self, count: int) -> None:
        """Never answer the next `count` requests, nor take them."""
        with self._lock:
            self._to_hang = count

    def let_go(self) -> None:
        """Answer again, also what has waited."""
        self._let_go.set()

    # what was received

    def requests(self, signal: str | None = None) -> list[ReceivedRequest]:
        """Return every request in order, or those of one signal."""
        with self._lock:
            return [one for one in self._requests if signal in (None, one.signal)]

    def counts(self) -> dict[str, int]:
        """Return how many requests of each signal came, and how many bytes in all (with `discard` only those)."""
        with self._lock:
            return dict(self._counts)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._requests.clear()
            self._counts.clear()

    def spans(self) -> list[ReceivedSpan]:
        """Return every span."""
        return [span for one in self.requests(TRACES) for span in _spans(one.message)]

    def points(self, metric: str | None = None) -> list[ReceivedPoint]:
        """Return every figure of every export of metrics, or those of one metric, in order."""
        found = [point for one in self.requests(METRICS) for point in _points(one.message)]
        return [point for point in found if metric in (None, point.metric)]

    def logs(self) -> list[ReceivedLog]:
        """Return every log record."""
        return [log for one in self.requests(LOGS) for log in _logs(one.message)]

    # for the servers

    def take(self, signal: str, protocol: str, headers: Mapping[str, str], message: Any, size: int) -> None:
        """Keep a request, or hold it back while hanging."""
        with self._lock:
            hangs, self._to_hang = self._to_hang > 0, max(0, self._to_hang - 1)
        if hangs:
            self._stopped.wait()
            return
        self._let_go.wait()
        if self.refusing is not None:
            return
        with self._lock:
            self._counts[signal] += 1
            self._counts["bytes"] += size
            if not self.discard:
                self._requests.append(ReceivedRequest(signal, protocol, dict(headers), message))

    def answer(self, signal: str) -> Any:
        """Make the answer to a request."""
        answer = _TYPES[signal][1]()
        if self.rejecting:
            names = {TRACES: "rejected_spans", METRICS: "rejected_data_points", LOGS: "rejected_log_records"}
            setattr(answer.partial_success, names[signal], self.rejecting)
            answer.partial_success.error_message = "rejected by the test"
        return answer


@contextmanager
def silent_endpoint() -> Iterator[str]:
    """A port on which connections are accepted by the system and nobody ever says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def dead_endpoint() -> str:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _register(receiver: OtlpReceiver, server: grpc.Server) -> None:
    def export(signal: str) -> Any:
        def handle(_self: Any, request: Any, context: grpc.ServicerContext) -> Any:
            headers = {str(key): str(value) for key, value in context.invocation_metadata()}
            receiver.take(signal, "grpc", headers, request, request.ByteSize())
            if receiver.refusing is not None:
                if receiver.details:
                    context.set_trailing_metadata((("grpc-status-details-bin", receiver.details),))
                context.abort(receiver.refusing, "refused by the test")
            return receiver.answer(signal)

        return handle

    def servicer(base: type[Any], signal: str) -> Any:
        return type(f"Received{signal.title()}", (base,), {"Export": export(signal)})()

    trace_grpc.add_TraceServiceServicer_to_server(servicer(trace_grpc.TraceServiceServicer, TRACES), server)
    metrics_grpc.add_MetricsServiceServicer_to_server(servicer(metrics_grpc.MetricsServiceServicer, METRICS), server)
    logs_grpc.add_LogsServiceServicer_to_server(servicer(logs_grpc.LogsServiceServicer, LOGS), server)


class _Discarding(grpc.GenericRpcHandler):
    """Answers every method without parsing its request."""

    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    def service(self, details: Any) -> Any:
        signal = next(one for one in _TYPES if f".{one.rstrip('s')}" in details.method.lower())

        def handle(body: bytes, _context: grpc.ServicerContext) -> bytes:
            self._receiver.take(signal, "grpc", {}, None, len(body))
            return b""

        return grpc.unary_unary_rpc_method_handler(handle)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> Any:
        """Accept a connection and remember it."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """Cut the connections that clients keep."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that give up are what tests are about."""


def _handler(receiver: OtlpReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            path = urlsplit(self.path).path  # what comes through a proxy has the whole URL
            signal = path.removeprefix("/v1/")
            body = self.rfile.read(int(self.headers["content-length"]))
            if not path.startswith("/v1/") or signal not in _TYPES:
                self._reply(404, b"")
                return
            message = None if receiver.discard else _TYPES[signal][0].FromString(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.take(signal, "http/protobuf", headers, message, len(body))
            if receiver.refusing is not None:
                self._reply(503 if receiver.refusing is grpc.StatusCode.UNAVAILABLE else 400, b"")
                return
            self._reply(200, receiver.answer(signal).SerializeToString())

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


def _spans(request: Any) -> Iterator[ReceivedSpan]:
    for resource, scope, scoped in _scoped(request.resource_spans, "scope_spans"):
        for span in scoped.spans:
            yield ReceivedSpan(
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                kind=span.kind,
                start_ns=span.start_time_unix_nano,
                end_ns=span.end_time_unix_nano,
                attributes=_attributes(span.attributes),
                status=span.status.code,
                status_message=span.status.message,
                events=[(event.name, _attributes(event.attributes)) for event in span.events],
                links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                trace_state=span.trace_state,
                scope=scope.name,
                resource=resource,
            )


def _points(request: Any) -> Iterator[ReceivedPoint]:
    for resource, scope, scoped in _scoped(request.resource_metrics, "scope_metrics"):
        for metric in scoped.metrics:
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                yield ReceivedPoint(
                    metric=metric.name,
                    unit=metric.unit,
                    kind=kind,
                    attributes=_attributes(point.attributes),
                    value=_figure(metric, point),
                    start_ns=point.start_time_unix_nano,
                    scope=scope.name,
                    resource=resource,
                    exemplars=[(one.trace_id.hex(), one.span_id.hex(), _number(one)) for one in point.exemplars],
                )


def _figure(metric: Metric, point: Any) -> Any:
    if metric.HasField("histogram"):
        return point.count, point.sum, tuple(point.bucket_counts)
    return _number(point)


def _number(point: Any) -> Any:
    return getattr(point, point.WhichOneof("value") or "as_int")


def _logs(request: Any) -> Iterator[ReceivedLog]:
    for resource, scope, scoped in _scoped(request.resource_logs, "scope_logs"):
        for record in scoped.log_records:
            yield ReceivedLog(
                body=_value(record.body),
                severity=record.severity_text,
                severity_number=record.severity_number,
                time_ns=record.time_unix_nano,
                attributes=_attributes(record.attributes),
                trace_id=record.trace_id.hex(),
                span_id=record.span_id.hex(),
                scope=scope.name,
                resource=resource,
            )


def _scoped(resources: Any, name: str) -> Iterator[tuple[Attributes, InstrumentationScope, Any]]:
    for one in resources:
        resource: Resource = one.resource
        for scoped in getattr(one, name):
            yield _attributes(resource.attributes), scoped.scope, scoped


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case name:
            return getattr(value, name)


def main(arguments: Sequence[str]) -> None:
    """Run as a program; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Receive OTLP on loopback and say what came.")
    parser.add_argument("--discard", action="store_true", help="count requests only, parse and keep nothing")
    options = parser.parse_args(arguments)
    with OtlpReceiver(discard=options.discard) as receiver:
        print(json.dumps({"grpc": receiver.grpc_port, "http": receiver.http_port}), flush=True)  # noqa: T201 - its answer
        for _ in sys.stdin:
            found = {"requests": receiver.counts()}
            if not options.discard:
                found |= {
                    "spans": dict(Counter(span.name for span in receiver.spans())),
                    "points": dict(Counter(point.metric for point in receiver.points())),
                    "logs": dict(Counter(str(log.body) for log in receiver.logs())),
                }
            print(json.dumps(found), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main(sys.argv[1:])
