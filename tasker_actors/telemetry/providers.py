"""OpenTelemetry's global providers, for what users' own code traces, measures and logs (SPEC 4.1).

OpenTelemetry lets each global be set once in a process, and a fork inherits it: so the providers stay, and what they
feed is exchanged (`Providers.feed`). Imported in phase 2 only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import metrics, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import Span as EncodedSpan
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope as SdkScope
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.exporter import Exporter
from tasker_actors.telemetry.otlp_values import key_values


class UserSpan:
    """One span that users' code has ended."""

    count = 1

    def __init__(self, span: ReadableSpan) -> None:
        self._span = span

    def encode(self) -> Sequence[EncodedSpan]:
        """Build it with OpenTelemetry's own encoder."""
        encoded: Sequence[EncodedSpan] = encode_spans([self._span]).resource_spans[0].scope_spans[0].spans
        return encoded


class UserSpans(SpanProcessor):
    """Hands the sampled spans of a tracer provider to the exporter of the moment; without one they end here."""

    def __init__(self) -> None:
        self.exporter: Exporter | None = None
        self._scopes: dict[SdkScope | None, InstrumentationScope] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        """Offer the span; never waits."""
        exporter = self.exporter
        context = span.get_span_context()
        if exporter is not None and context is not None and context.trace_flags.sampled:
            exporter.offer(UserSpan(span), self._scope(span.instrumentation_scope))

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export what waits."""
        exporter = self.exporter
        return exporter is None or exporter.flush(time.monotonic() + timeout_millis / 1000)

    def _scope(self, scope: SdkScope | None) -> InstrumentationScope:
        """The scope as OTLP has it; the same object each time, so that the exporter can group by it."""
        encoded = self._scopes.get(scope)
        if encoded is None:
            encoded = InstrumentationScope()
            if scope is not None:
                attributes: Mapping[str, Any] = scope.attributes or {}
                encoded = InstrumentationScope(
                    name=scope.name, version=scope.version or "", attributes=key_values(attributes)
                )
            self._scopes[scope] = encoded
        return encoded


class Providers:
    """The global providers of this process. Made once, by the first phase 2; fed by each."""

    def __init__(self, config: TelemetryConfig, resource_attributes: Mapping[str, Any]) -> None:
        resource = Resource.create(resource_attributes)
        self._spans = UserSpans()
        self._tracers = _tracer_provider(config, resource)
        self._tracers.add_span_processor(self._spans)
        self._meters = _meter_provider(resource)
        self._reader: InMemoryMetricReader | None = None
        propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))

    def feed(self, exporter: Exporter) -> None:
        """Let users' spans and metrics go to this exporter from now on."""
        reader = self._reader = InMemoryMetricReader()
        self._meters.add_metric_reader(reader)
        exporter.add_metrics_source(lambda: _collect(reader))
        self._spans.exporter = exporter

    def starve(self) -> None:
        """Let them go nowhere, and forget what was measured so far."""
        self._spans.exporter = None
        reader, self._reader = self._reader, None
        if reader is not None:
            self._meters.remove_metric_reader(reader)


def current_span_ids() -> tuple[str, str] | None:
    """Trace id and span id, in hex, of the OpenTelemetry span that is open here; None without one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def _tracer_provider(config: TelemetryConfig, resource: Resource) -> TracerProvider:
    """The global provider: ours, or the one that the program had set before us."""
    current = trace.get_tracer_provider()
    if isinstance(current, TracerProvider):
        return current
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(config.sampling_ratio)), resource=resource, shutdown_on_exit=False
    )
    trace.set_tracer_provider(provider)
    return provider


def _meter_provider(resource: Resource) -> MeterProvider:
    current = metrics.get_meter_provider()
    if isinstance(current, MeterProvider):
        return current
    provider = MeterProvider(resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider


def _collect(reader: InMemoryMetricReader) -> ExportMetricsServiceRequest | None:
    data = reader.get_metrics_data()
    if data is None or not data.resource_metrics:
        return None
    request = encode_metrics(data)
    for one in request.resource_metrics:
        one.ClearField("resource")  # the exporter puts in its own, which a fork has made anew
    return request
