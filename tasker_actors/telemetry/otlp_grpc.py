"""OTLP over gRPC. Imported in phase 2 only: gRPC has threads of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, cast
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tasker_actors.telemetry.otlp import Failed, Refused, SendResult, Signal, is_loopback
from tasker_actors.telemetry.otlp_answers import sent

_SERVICES: Final[Mapping[Signal, tuple[str, Any]]] = {
    Signal.TRACES: ("trace.v1.TraceService", ExportTraceServiceResponse),
    Signal.METRICS: ("metrics.v1.MetricsService", ExportMetricsServiceResponse),
    Signal.LOGS: ("logs.v1.LogsService", ExportLogsServiceResponse),
}
_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_CORE_THREADS: Final = frozenset({"event_engine", "grpc_global_tim", "lifeguard"})
"""What gRPC's core calls its threads, as far as the kernel keeps names."""
_LOOK_S: Final = 0.001
_DETAILS: Final = "grpc-status-details-bin"
"""A google.rpc.Status, in which a server puts what it has to say beside code and message."""
_PORTS: Final = {"http": 80, "https": 443}
_OPTIONS: Final = (
    # gRPC's own pauses between connects grow to two minutes; ours decide when a collector that is back is found.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Connections are not shared with users' own channels, whose settings would otherwise apply to ours.
    ("grpc.use_local_subchannel_pool", 1),
)


class GrpcSender:
    """One channel, opened by the first request. `http://` is plain text, `https://` is TLS.

    gRPC uses proxies of the environment; not for a collector on this machine.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str], certificate: bytes | None) -> None:
        parts = urlsplit(endpoint)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._target = f"{host}:{parts.port or _PORTS[parts.scheme]}"
        self._headers = tuple(headers.items())
        self._credentials = grpc.ssl_channel_credentials(certificate) if parts.scheme == "https" else None
        self._options = (*_OPTIONS, ("grpc.enable_http_proxy", int(not is_loopback(endpoint))))
        self._lock = Lock()
        self._channel: grpc.Channel | None = None

    def send(self, signal: Signal, body: bytes, timeout_s: float) -> SendResult:
        """Send one request and wait for its answer."""
        service, answer_type = _SERVICES[signal]
        path = f"/opentelemetry.proto.collector.{service}/Export"
        try:
            call = self._connected().unary_unary(path, response_deserializer=answer_type.FromString)
            answer = call(body, timeout=timeout_s, metadata=self._headers)
        except ValueError as error:  # the channel was closed by `disconnect` between two statements
            return Failed(str(error))
        except grpc.RpcError as error:
            return _failure(error)
        return sent(signal, answer)

    def disconnect(self) -> None:
        """Close the channel, which cancels a request under way."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def quiesce(self, timeout_s: float) -> None:
        """Close the channel and wait for the end of gRPC's own threads, which follow the last channel of a process.

        A child that is forked while they still run inherits their locks, and its next channel waits for these for ever,
        with the interpreter's lock in its hands. Where other code has channels of its own the wait is for nothing.
        """
        self.disconnect()
        give_up_at = time.monotonic() + timeout_s
        while any(name in _CORE_THREADS for name in _thread_names()) and time.monotonic() < give_up_at:
            time.sleep(_LOOK_S)

    def _connected(self) -> grpc.Channel:
        with self._lock:
            if self._channel is None:
                self._channel = (
                    grpc.insecure_channel(self._target, options=self._options)
                    if self._credentials is None
                    else grpc.secure_channel(self._target, self._credentials, options=self._options)
                )
            return self._channel


def _thread_names() -> Iterator[str]:
    """Name every thread of this process as the kernel does; none where there is no such place to look."""
    for task in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            yield task.read_text(encoding="utf-8", errors="replace").strip()


def _failure(error: Any) -> SendResult:
    """What a failed call means. An RpcError of a call is also the call: it has code, details and trailing metadata."""
    code = cast("grpc.StatusCode", error.code())
    reason = f"{code.name}: {error.details()}"
    delay_s = _retry_delay_s(error.trailing_metadata() or ())
    if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay_s is not None):
        return Failed(reason, delay_s or 0.0)
    return Refused(reason)


def _retry_delay_s(metadata: Any) -> float | None:
    """The pause that the server asks for, None if it asks for none or cannot be understood."""
    info = RetryInfo()
    try:
        for value in (value for key, value in metadata if key == _DETAILS):
            for detail in Status.FromString(value).details:
                if detail.Unpack(info):
                    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    except DecodeError:
        return None
    return None
