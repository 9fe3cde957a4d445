"""Sends encoded OTLP requests to a collector, over gRPC or over HTTP; says what came of it and raises nothing for that.

Rules: OTLP specification 1.x (which failures may be repeated, partial success, `Retry-After` and `RetryInfo`).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tasker_actors.errors import ConfigurationError
from tasker_actors.telemetry.config import OtlpProtocol, TelemetryConfig, silence_grpc_core


class Signal(StrEnum):
    """What is exported; the value is the end of the path over HTTP."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Sent:
    """The collector took the request, but for `rejected` of its items, for the reason in `message`."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The collector was not reached or is busy: the same request may be sent again, at the earliest after a pause."""

    reason: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Refused:
    """The collector will not take this request however often it is sent."""

    reason: str


SendResult = Sent | Failed | Refused


class OtlpSender(Protocol):
    """A way to a collector. `send` is called by one thread."""

    def send(self, signal: Signal, body: bytes, timeout_s: float) -> SendResult:
        """Send one serialized request; blocks for `timeout_s` at most."""

    def disconnect(self) -> None:
        """Drop the connection and, where the transport can, end a send that is under way; from any thread.

        The next `send` connects anew.
        """

    def quiesce(self, timeout_s: float) -> None:
        """Drop the connection and wait until nothing of the transport runs any more, as a fork needs it."""


def make_sender(config: TelemetryConfig) -> OtlpSender:
    """A sender for the configured protocol; connects with its first request. Raises ConfigurationError.

    The transport's library is imported here: it may start threads of its own, which phase 1 must not.
    """
    certificate = _certificate(config)
    match config.otlp_protocol:
        case OtlpProtocol.GRPC:
            silence_grpc_core()
            from tasker_actors.telemetry.otlp_grpc import GrpcSender  # noqa: PLC0415 - not before phase 2, see above

            return GrpcSender(config.otlp_endpoint, config.otlp_headers, certificate)
        case OtlpProtocol.HTTP_PROTOBUF:
            from tasker_actors.telemetry.otlp_http import HttpSender  # noqa: PLC0415 - not before phase 2, see above

            return HttpSender(config.otlp_endpoint, config.otlp_headers, certificate)


def is_loopback(endpoint: str) -> bool:
    """Whether a collector is on this machine, where no proxy can reach it."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".") == "localhost"


def _certificate(config: TelemetryConfig) -> bytes | None:
    if config.otlp_certificate is None:
        return None
    try:
        return Path(config.otlp_certificate).read_bytes()
    except OSError as error:
        message = (
            f"OTEL_EXPORTER_OTLP_CERTIFICATE={config.otlp_certificate}: {error.strerror}; name a readable PEM file"
        )
        raise ConfigurationError(message) from error
