"""Takes what users' own code traces, measures and logs through OpenTelemetry to the exporter of the moment.

These are registered with OpenTelemetry's providers once and stay; what they feed is exchanged. Without an exporter
what they get ends here. Imported in phase 2 only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope as SdkScope

from tasker_actors.telemetry.exporter import Exporter
from tasker_actors.telemetry.footprint import footprint, footprint_of
from tasker_actors.telemetry.otlp_values import key_values


class _Outlet:
    """What both processors share: the exporter of the moment, and scopes as OTLP has them."""

    def __init__(self) -> None:
        self.exporter: Exporter | None = None
        self._scopes: dict[SdkScope | None, InstrumentationScope] = {}

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export what waits."""
        exporter = self.exporter
        return exporter is None or exporter.flush(time.monotonic() + timeout_millis / 1000)

    def shutdown(self) -> None:
        """Take nothing any more: the provider is shut down."""
        self.exporter = None

    def scope(self, scope: SdkScope | None) -> InstrumentationScope:
        """The scope in OTLP; the same object each time, so that the exporter can group by it."""
        encoded = self._scopes.get(scope)
        if encoded is None:
            encoded = InstrumentationScope()
            if scope is not None:
                attributes = key_values(scope.attributes or {})
                encoded = InstrumentationScope(name=scope.name, version=scope.version or "", attributes=attributes)
            encoded = self._scopes.setdefault(scope, encoded)
        return encoded


class UserSpans(_Outlet, SpanProcessor):
    """Exports sampled spans when they have ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Offer the span; never waits."""
        exporter, context = self.exporter, span.get_span_context()
        if exporter is not None and context is not None and context.trace_flags.sampled:
            exporter.offer(_UserSpan(span), self.scope(span.instrumentation_scope))


class UserLogs(_Outlet, LogRecordProcessor):
    """Exports log records of OpenTelemetry's own logging interface; the console does not show them."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Offer the record; never waits."""
        exporter = self.exporter
        if exporter is not None:
            exporter.offer_log(_UserLog(log_record), self.scope(log_record.instrumentation_scope))


_SPAN_BYTES = 2048
"""About what a span or a record of OpenTelemetry's SDK holds besides what users put into it."""


class _UserSpan:
    """One span, encoded by OpenTelemetry."""

    count = 1

    def __init__(self, span: ReadableSpan) -> None:
        self._span = span

    @property
    def size(self) -> int:
        """Bytes that its attributes, its events' and its links' hold until then."""
        span = self._span
        parts: list[Mapping[str, Any] | None] = [span.attributes]
        parts += [event.attributes for event in span.events]
        parts += [link.attributes for link in span.links]
        return _SPAN_BYTES + footprint(span.name) + footprint_of(parts)

    def encode(self) -> Sequence[bytes]:
        (encoded,) = encode_spans([self._span]).resource_spans[0].scope_spans[0].spans
        return [encoded.SerializeToString()]


class _UserLog:
    """One log record, encoded by OpenTelemetry."""

    count = 1

    def __init__(self, record: ReadWriteLogRecord) -> None:
        self._record = record

    @property
    def size(self) -> int:
        """Bytes that its body and its attributes hold until then."""
        record = self._record.log_record
        return _SPAN_BYTES + footprint(record.body) + footprint(record.attributes)

    def encode(self) -> Sequence[bytes]:
        # The exporter puts in the resource, which a fork has made anew.
        readable = ReadableLogRecord(self._record.log_record, Resource.get_empty())
        (encoded,) = encode_logs([readable]).resource_logs[0].scope_logs[0].log_records
        return [encoded.SerializeToString()]


def collect_metrics(reader: InMemoryMetricReader) -> ExportMetricsServiceRequest | None:
    """What users' instruments show now, without a resource; None if there are none."""
    data = reader.get_metrics_data()
    if data is None or not data.resource_metrics:
        return None
    request = encode_metrics(data)
    for one in request.resource_metrics:
        one.ClearField("resource")  # the exporter puts in its own, which a fork has made anew
    return request
