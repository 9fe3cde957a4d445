"""Reads the telemetry configuration from the environment, before any other configuration exists (SPEC 4.1)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

from tasker_actors.errors import ConfigurationError
from tasker_actors.release import release
from tasker_actors.telemetry.redaction import redact

_T = TypeVar("_T")


class OtlpProtocol(StrEnum):
    """How an exporter talks to the collector."""

    GRPC = "grpc"
    HTTP_PROTOBUF = "http/protobuf"


class LogLevel(StrEnum):
    """Least severe level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(StrEnum):
    """What a log line looks like."""

    CONSOLE = "console"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class BatchSpans:
    """Limits of the span exporter's buffer (`OTEL_BSP_*`).

    The two sizes are larger than OpenTelemetry's: one commit of 256 steps alone makes about 2,000 spans at once.
    """

    schedule_delay_ms: int = 5000
    export_timeout_ms: int = 30000
    max_queue_size: int = 32768
    max_export_batch_size: int = 4096


@dataclass(frozen=True, slots=True)
class BatchLogRecords:
    """Limits of the log exporter's buffer (`OTEL_BLRP_*`), larger than OpenTelemetry's as those of spans are."""

    max_queue_size: int = 8192
    max_export_batch_size: int = 512


@dataclass(frozen=True, slots=True)
class EarlyRecordLimits:
    """What phase 1 keeps of its log records for phase 2: so many, each of so many bytes at most."""

    max_records: int = 1000
    max_record_bytes: int = 16 * 1024


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """Everything the two phases need to know; a variable that is empty counts as unset, as OpenTelemetry says.

    `log_format` is None when the terminal decides. Header values may be keys of an account: they are not in `repr`.
    """

    enabled: bool
    otlp_endpoint: str
    otlp_protocol: OtlpProtocol
    otlp_headers: Mapping[str, str] = field(repr=False)
    otlp_timeout_s: float
    otlp_certificate: str | None
    service_name: str
    service_version: str
    environment: str
    sampling_ratio: float
    logs_enabled: bool
    resource_attributes: Mapping[str, str]
    batch_spans: BatchSpans
    batch_log_records: BatchLogRecords
    early_records: EarlyRecordLimits
    metric_export_interval_ms: int
    sdk_disabled: bool
    log_level: LogLevel
    log_format: LogFormat | None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> TelemetryConfig:
        """The configuration in these variables (the process's own by default).

        Raises ConfigurationError with a line for each variable that cannot be read.
        """
        read = _Variables(os.environ if environ is None else environ)
        attributes: dict[str, str] = read.get("OTEL_RESOURCE_ATTRIBUTES", _pairs, {})
        protocol = read.get("OTEL_EXPORTER_OTLP_PROTOCOL", _protocol, OtlpProtocol.GRPC)
        from_attributes = attributes.get("deployment.environment.name", "development")
        environment = read.get("DEPLOYMENT_ENVIRONMENT", _text, read.get("TASKER_ENV", _text, from_attributes))
        config = cls(
            enabled=read.get("TELEMETRY_ENABLED", _boolean, False),
            otlp_endpoint=read.get("OTEL_EXPORTER_OTLP_ENDPOINT", _endpoint, _DEFAULT_ENDPOINTS[protocol]),
            otlp_protocol=protocol,
            otlp_headers=MappingProxyType(read.get("OTEL_EXPORTER_OTLP_HEADERS", _headers, {})),
            otlp_timeout_s=read.get("OTEL_EXPORTER_OTLP_TIMEOUT", _seconds, 10.0),
            otlp_certificate=read.get("OTEL_EXPORTER_OTLP_CERTIFICATE", _text, None),
            service_name=read.get("OTEL_SERVICE_NAME", _text, attributes.get("service.name", "tasker-actors")),
            service_version=read.get("OTEL_SERVICE_VERSION", _text, attributes.get("service.version") or release()),
            environment=environment,
            sampling_ratio=read.get("OTEL_TRACES_SAMPLER_ARG", _ratio, 1.0),
            logs_enabled=read.get("OTEL_LOGS_ENABLED", _boolean, False),
            resource_attributes=MappingProxyType(attributes),
            batch_spans=read.batch_spans(),
            batch_log_records=read.batch_log_records(),
            early_records=read.early_records(),
            metric_export_interval_ms=read.get("OTEL_METRIC_EXPORT_INTERVAL", _positive, 60000),
            sdk_disabled=read.get("OTEL_SDK_DISABLED", _opentelemetry_boolean, False),
            log_level=read.get("LOG_LEVEL", _level, _default_level(environment)),
            log_format=read.get("LOG_FORMAT", _format, None),
        )
        if read.faults:
            raise ConfigurationError("\n".join(read.faults))
        return config


def silence_grpc_core() -> None:
    """Set `GRPC_VERBOSITY` to NONE unless it is set; before gRPC is imported.

    Its core writes lines of a format of its own to standard error whenever a collector goes away.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


_DEFAULT_ENDPOINTS: Final = {
    OtlpProtocol.GRPC: "http://localhost:4317",
    OtlpProtocol.HTTP_PROTOBUF: "http://localhost:4318",
}
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_LEVELS: Final = {level.value: level for level in LogLevel} | {"warn": LogLevel.WARNING}
_SECRET: Final = frozenset({"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES"})


class _Variables:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []

    def get(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        """The variable's value, or the default if it is unset, empty or faulty."""
        value = self._environ.get(name, "").strip()
        if not value:
            return default
        try:
            return parse(value)
        except ValueError as error:
            shown = "" if name in _SECRET else f"={redact(value)!r}"
            self.faults.append(f"{name}{shown}: {error}")
            return default

    def batch_spans(self) -> BatchSpans:
        """The buffer's limits, which must fit each other."""
        default = BatchSpans()
        queue_size = self.get("OTEL_BSP_MAX_QUEUE_SIZE", _positive, default.max_queue_size)
        batch_size = min(default.max_export_batch_size, queue_size)
        limits = BatchSpans(
            schedule_delay_ms=self.get("OTEL_BSP_SCHEDULE_DELAY", _positive, default.schedule_delay_ms),
            export_timeout_ms=self.get("OTEL_BSP_EXPORT_TIMEOUT", _positive, default.export_timeout_ms),
            max_queue_size=queue_size,
            max_export_batch_size=self.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", _positive, batch_size),
        )
        self._fit("OTEL_BSP", limits)
        return limits

    def batch_log_records(self) -> BatchLogRecords:
        """The same for log records."""
        default = BatchLogRecords()
        queue_size = self.get("OTEL_BLRP_MAX_QUEUE_SIZE", _positive, default.max_queue_size)
        batch_size = min(default.max_export_batch_size, queue_size)
        limits = BatchLogRecords(
            max_queue_size=queue_size,
            max_export_batch_size=self.get("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", _positive, batch_size),
        )
        self._fit("OTEL_BLRP", limits)
        return limits

    def early_records(self) -> EarlyRecordLimits:
        """What is kept before phase 2."""
        default = EarlyRecordLimits()
        return EarlyRecordLimits(
            max_records=self.get("LOG_EARLY_RECORDS", _positive, default.max_records),
            max_record_bytes=self.get("LOG_EARLY_RECORD_BYTES", _positive, default.max_record_bytes),
        )

    def _fit(self, prefix: str, limits: BatchSpans | BatchLogRecords) -> None:
        if limits.max_export_batch_size > limits.max_queue_size:
            self.faults.append(
                f"{prefix}_MAX_EXPORT_BATCH_SIZE={limits.max_export_batch_size}: must not be above "
                f"{prefix}_MAX_QUEUE_SIZE, which is {limits.max_queue_size}"
            )


def _default_level(environment: str) -> LogLevel:
    return LogLevel.DEBUG if environment in ("development", "test") else LogLevel.INFO


def _text(value: str) -> str:
    if not value.isprintable():
        message = "must be printable text"
        raise ValueError(message)
    return value


def _boolean(value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    message = "must be true or false"
    raise ValueError(message)


def _opentelemetry_boolean(value: str) -> bool:
    """As OpenTelemetry reads it, where 1 and yes are false: those are refused rather than taken for the opposite."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    message = "must be true or false"
    raise ValueError(message)


def _positive(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        message = "must be a whole number above 0"
        raise ValueError(message)
    return int(value)


def _seconds(value: str) -> float:
    """Seconds, as the variable is read in Python, also with a fraction."""
    message = "must be a number of seconds above 0"
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError(message) from None
    if not 0.0 < seconds < float("inf"):
        raise ValueError(message)
    return seconds


def _ratio(value: str) -> float:
    message = "must be a number from 0.0 to 1.0"
    try:
        ratio = float(value)
    except ValueError:
        raise ValueError(message) from None
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(message)
    return ratio


def _choice(value: str, choices: Mapping[str, _T]) -> _T:
    try:
        return choices[value.lower()]
    except KeyError:
        message = f"must be one of {', '.join(choices)}"
        raise ValueError(message) from None


def _protocol(value: str) -> OtlpProtocol:
    return _choice(value, {protocol.value: protocol for protocol in OtlpProtocol})


def _level(value: str) -> LogLevel:
    return _choice(value, _LEVELS)


def _format(value: str) -> LogFormat:
    return _choice(value, {log_format.value: log_format for log_format in LogFormat})


def _endpoint(value: str) -> str:
    """A URL with a scheme: without one, gRPC exporters would silently expect TLS (HAZARDS 21)."""
    message = "must be a URL such as http://localhost:4317 (https:// for TLS)"
    try:
        parts = urlsplit(_text(value))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(message) from None
    if not usable or " " in value:
        raise ValueError(message)
    return value


def _pairs(value: str) -> dict[str, str]:
    """`key=value,key=value`, percent-encoded, as in W3C baggage; a fault is told by its place, not by its text."""
    pairs = {}
    for place, part in enumerate(value.split(","), start=1):
        if not part.strip():
            continue
        key, equals, text = (unquote(piece.strip(), errors="replace") for piece in part.partition("="))
        if not (equals and key and (key + text).isprintable()) or "\N{REPLACEMENT CHARACTER}" in key + text:
            message = f"entry {place} must be key=value, percent-encoded UTF-8, without control characters"
            raise ValueError(message)
        pairs[key] = text
    return pairs


def _headers(value: str) -> dict[str, str]:
    """As `_pairs`, ASCII only, names in lower case, as gRPC demands."""
    pairs = _pairs(value)
    if not all((name + text).isascii() for name, text in pairs.items()):
        message = "names and values must be ASCII"
        raise ValueError(message)
    return {name.lower(): text for name, text in pairs.items()}
