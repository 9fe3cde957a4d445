"""Log lines as OTLP log records: severity, body, attributes, ids (OpenTelemetry's logs data model; SPEC 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from tasker_actors.telemetry.exporter import Exporter
from tasker_actors.telemetry.footprint import footprint
from tasker_actors.telemetry.otlp_values import any_value, key_values

_SEVERITIES: Final[Mapping[str, SeverityNumber.ValueType]] = {
    "debug": SeverityNumber.SEVERITY_NUMBER_DEBUG,
    "info": SeverityNumber.SEVERITY_NUMBER_INFO,
    "warning": SeverityNumber.SEVERITY_NUMBER_WARN,
    "error": SeverityNumber.SEVERITY_NUMBER_ERROR,
    "critical": SeverityNumber.SEVERITY_NUMBER_FATAL,
}
_ELSEWHERE: Final = frozenset({"timestamp", "level", "logger", "event", "trace_id", "span_id", "worker", "pid"})
"""Fields with a place of their own in the record, its scope or its resource."""
_RENAMED: Final = {"thread": "thread.name", "traceback": "exception.stacktrace"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class LoggedLine:
    """The fields of one line as they were written (SPEC 4.4), to be exported."""

    count = 1

    def __init__(self, line: Mapping[str, Any]) -> None:
        self._line = line

    @property
    def size(self) -> int:
        """Bytes that its fields hold until then."""
        return footprint(self._line)

    def encode(self) -> Sequence[bytes]:
        """Make the record."""
        return [log_record(self._line).SerializeToString()]


class LogExport:
    """Hands lines to an exporter; the scope of each is its logger. From any thread."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._scopes: dict[str, InstrumentationScope] = {}

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Offer one line; never waits. After the end of the export the console alone has it, and nothing is lost."""
        if self._exporter.has_stopped:
            return
        logger = str(line["logger"])
        scope = self._scopes.get(logger)
        if scope is None:
            scope = self._scopes.setdefault(logger, InstrumentationScope(name=logger))
        self._exporter.offer_log(LoggedLine(line), scope)


def log_record(line: Mapping[str, Any]) -> LogRecord:
    """One line as a record; its fields are the attributes."""
    moment = (datetime.fromisoformat(line["timestamp"]) - _EPOCH) // _MICROSECOND * 1000
    level = str(line["level"])
    return LogRecord(
        time_unix_nano=moment,
        observed_time_unix_nano=moment,
        severity_number=_SEVERITIES.get(level, SeverityNumber.SEVERITY_NUMBER_UNSPECIFIED),
        severity_text=level.upper(),
        body=any_value(line["event"]),
        attributes=key_values({_RENAMED.get(k, k): value for k, value in line.items() if k not in _ELSEWHERE}),
        trace_id=_id(line.get("trace_id"), 16),
        span_id=_id(line.get("span_id"), 8),
    )


def _id(digits: Any, size: int) -> bytes:
    """The bytes of a hex id; none if a caller logged something else under that name."""
    try:
        found = bytes.fromhex(str(digits or ""))
    except ValueError:
        return b""
    return found if len(found) == size else b""
