"""OpenTelemetry's global providers, for users' own code (SPEC 4.1).

OpenTelemetry lets each global be set once in a process, and a fork inherits it (HAZARDS 1, 16): so the providers stay,
and what they feed is exchanged. Imported in phase 2 only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from opentelemetry import _logs, metrics, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.exporter import Exporter
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.user_signals import UserLogs, UserSpans, collect_metrics


class Providers:
    """The global providers of this process, ours or those that the program had set; made by the first phase 2."""

    def __init__(self, config: TelemetryConfig, resource_attributes: Mapping[str, Any]) -> None:
        self._resource = Resource.create(resource_attributes)
        self._spans = UserSpans()
        self._logs: UserLogs | None = None
        self._reader: InMemoryMetricReader | None = None
        _tracer_provider(config.sampling_ratio, self._resource).add_span_processor(self._spans)
        self._meters: MeterProvider | None = _meter_provider(self._resource)
        propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))

    def feed(self, exporter: Exporter, *, logs: bool) -> None:
        """Let spans and metrics of users, and their log records if wanted, go to this exporter from now on."""
        self.starve()
        if self._meters is None:
            get_logger("tasker_actors.telemetry").warning(
                "OpenTelemetry's metrics are not exported: they were being collected when this process was forked"
            )
        else:
            reader = self._reader = InMemoryMetricReader()
            self._meters.add_metric_reader(reader)
            exporter.add_metrics_source(partial(collect_metrics, reader))
        self._spans.exporter = exporter
        if logs and self._logs is None:
            self._logs = UserLogs()
            _logger_provider(self._resource).add_log_record_processor(self._logs)
        if logs and self._logs is not None:
            self._logs.exporter = exporter

    def starve(self) -> None:
        """Let them go nowhere, and forget what was measured so far."""
        self._spans.exporter = None
        if self._logs is not None:
            self._logs.exporter = None
        reader, self._reader = self._reader, None
        if reader is not None and self._meters is not None:
            self._meters.remove_metric_reader(reader)

    def give_up_metrics(self) -> None:
        """Leave the SDK's meters alone: in this process, the child of a fork, nobody will release their locks."""
        self._meters = None


def current_span_ids() -> tuple[str, str] | None:
    """Trace id and span id, in hex, of the OpenTelemetry span that is open here; None without one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def _tracer_provider(sampling_ratio: float, resource: Resource) -> TracerProvider:
    current = trace.get_tracer_provider()
    if isinstance(current, TracerProvider):
        return current
    sampler = ParentBased(TraceIdRatioBased(sampling_ratio))
    provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    return provider


def _meter_provider(resource: Resource) -> MeterProvider:
    current = metrics.get_meter_provider()
    if isinstance(current, MeterProvider):
        return current
    provider = MeterProvider(resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider


def _logger_provider(resource: Resource) -> LoggerProvider:
    current = _logs.get_logger_provider()
    if isinstance(current, LoggerProvider):
        return current
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    _logs.set_logger_provider(provider)
    return provider
