"""OTLP over HTTP with protobuf bodies. Imported in phase 2 only."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any, Final

import httpx
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tasker_actors.errors import ConfigurationError
from tasker_actors.telemetry.otlp import Failed, Refused, SendResult, Sent, Signal, is_loopback
from tasker_actors.telemetry.otlp_answers import sent

_ANSWERS: Final[Mapping[Signal, Any]] = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
}
_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_MAX_ANSWER_BYTES: Final = 1 << 20
_CONTENT_TYPE: Final = "application/x-protobuf"


class HttpSender:
    """One connection that is kept. The signal's path is appended to the endpoint, as OpenTelemetry says.

    Proxies of the environment are used, but not for a collector on this machine. Raises ConfigurationError for one that
    cannot be used.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str], certificate: bytes | None) -> None:
        self._base = endpoint.rstrip("/")
        self._headers = {**headers, "content-type": _CONTENT_TYPE}
        context = ssl.create_default_context()
        if certificate is not None:
            context.load_verify_locations(cadata=certificate.decode())
        self._verify = context
        self._lock = Lock()
        self._idle: httpx.Client | None = self._unconnected()
        self._generation = 0

    def send(self, signal: Signal, body: bytes, timeout_s: float) -> SendResult:
        """Send one request and read its answer, of which one MiB at most."""
        give_up_at = time.monotonic() + timeout_s
        with self._lock:
            client, self._idle = self._idle, None
            generation = self._generation
        try:
            client = client or self._unconnected()
        except ConfigurationError as error:
            return Failed(str(error))
        try:
            with client.stream("POST", f"{self._base}/v1/{signal.value}", content=body, timeout=timeout_s) as answer:
                content = b""
                for part in answer.iter_bytes():
                    content += part
                    if time.monotonic() > give_up_at:
                        return Failed("the answer did not end in time")
                    if len(content) > _MAX_ANSWER_BYTES:
                        return Refused("the answer is longer than 1 MiB; is this an OTLP collector?")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Failed(f"{type(error).__name__}: {error}")
        finally:
            self._put_back(client, generation)
        return _meaning(signal, answer, content)

    def disconnect(self) -> None:
        """Close the connection; that of a request under way is closed when it ends, by its time limit if need be."""
        with self._lock:
            client, self._idle = self._idle, None
            self._generation += 1
        if client is not None:
            client.close()

    def quiesce(self, timeout_s: float) -> None:  # noqa: ARG002 - there is nothing in the background to wait for
        """Close the connection."""
        self.disconnect()

    def _unconnected(self) -> httpx.Client:
        try:
            return httpx.Client(verify=self._verify, headers=self._headers, trust_env=not is_loopback(self._base))
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            message = (
                f"the proxy for {self._base} cannot be used: {error}; correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or"
                " name the collector's host in NO_PROXY"
            )
            raise ConfigurationError(message) from error

    def _put_back(self, client: httpx.Client, generation: int) -> None:
        with self._lock:
            if generation == self._generation:
                self._idle = client
                return
        client.close()


def _meaning(signal: Signal, answer: httpx.Response, content: bytes) -> SendResult:
    if not answer.is_success:
        reason = f"HTTP {answer.status_code}"
        if answer.status_code in _RETRYABLE:
            return Failed(reason, _retry_after_s(answer.headers.get("retry-after", "")))
        return Refused(reason)
    try:
        return sent(signal, _ANSWERS[signal].FromString(content))
    except DecodeError:
        return Sent(message="the answer is no OTLP; is this a collector?")


def _retry_after_s(text: str) -> float:
    """`Retry-After` in seconds or as a date (RFC 9110); 0 if it cannot be read, and our own pause counts."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
