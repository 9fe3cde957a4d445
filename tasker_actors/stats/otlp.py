"""Shows figures to an OpenTelemetry collector: the same that Prometheus scrapes, as OTLP (SPEC 4.3).

Rules: OTLP's metrics data model. Sums and histograms are cumulative since the series began, so nothing is lost with a
request that is not delivered. Names are those of the table, with dots; a collector makes of them what a scrape shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from tasker_actors.stats.figures import Exemplar, Figures, Labels
from tasker_actors.telemetry.metrics import DURATION_BOUNDS_MS, TABLE, Metric, MetricKind
from tasker_actors.telemetry.otlp_values import tasker_scope

METER: Final = "tasker"

_CUMULATIVE: Final = pb.AGGREGATION_TEMPORALITY_CUMULATIVE


def metrics_request(figures: Figures) -> ExportMetricsServiceRequest:
    """Make the request that exports these figures: every metric of the table that has any, in its order.

    Its resource is left empty, for whoever sends it.
    """
    request = ExportMetricsServiceRequest()
    meter = InstrumentationScope(name=METER, version=tasker_scope().version)
    scoped = request.resource_metrics.add().scope_metrics.add(scope=meter)
    for metric in TABLE:
        if metric.counted_in is None and (made := _metric(metric, figures)) is not None:
            scoped.metrics.append(made)
    return request


def _metric(metric: Metric, figures: Figures) -> pb.Metric | None:
    made = pb.Metric(name=metric.instrument, description=metric.help, unit=metric.unit)
    match metric.kind:
        case MetricKind.COUNTER:
            made.sum.is_monotonic = True
            made.sum.aggregation_temporality = _CUMULATIVE
            made.sum.data_points.extend(_sums(metric, figures))
            return made if made.sum.data_points else None
        case MetricKind.GAUGE:
            made.gauge.data_points.extend(_gauges(metric, figures))
            return made if made.gauge.data_points else None
        case MetricKind.HISTOGRAM:
            made.histogram.aggregation_temporality = _CUMULATIVE
            made.histogram.data_points.extend(_histograms(metric, figures))
            return made if made.histogram.data_points else None


def _sums(metric: Metric, figures: Figures) -> Iterable[pb.NumberDataPoint]:
    for labels, count in figures.counters.get(metric, {}).items():
        yield pb.NumberDataPoint(
            attributes=_attributes(metric, labels),
            start_time_unix_nano=_began(metric, labels, figures),
            time_unix_nano=_nanoseconds(figures.time),
            as_int=count,
            exemplars=_exemplars(metric, labels, figures),
        )


def _gauges(metric: Metric, figures: Figures) -> Iterable[pb.NumberDataPoint]:
    for labels, number in figures.gauges.get(metric, {}).items():
        yield pb.NumberDataPoint(
            attributes=_attributes(metric, labels), time_unix_nano=_nanoseconds(figures.time), as_double=number
        )


def _histograms(metric: Metric, figures: Figures) -> Iterable[pb.HistogramDataPoint]:
    for labels, value in figures.histograms.get(metric, {}).items():
        yield pb.HistogramDataPoint(
            attributes=_attributes(metric, labels),
            start_time_unix_nano=_began(metric, labels, figures),
            time_unix_nano=_nanoseconds(figures.time),
            count=value.count,
            sum=value.total,
            bucket_counts=value.buckets,
            explicit_bounds=DURATION_BOUNDS_MS,
            exemplars=_exemplars(metric, labels, figures),
        )


def _attributes(metric: Metric, labels: Labels) -> list[KeyValue]:
    return [
        KeyValue(key=name, value=AnyValue(string_value=value))
        for name, value in zip(metric.labels, labels, strict=True)
    ]


def _began(metric: Metric, labels: Labels, figures: Figures) -> int:
    return _nanoseconds(figures.began.get(metric, {}).get(labels, 0.0))  # 0 says that it is not known


def _exemplars(metric: Metric, labels: Labels, figures: Figures) -> list[pb.Exemplar]:
    found = figures.exemplars.get(metric, {}).get(labels, {})
    return [_exemplar(exemplar) for _, exemplar in sorted(found.items())]


def _exemplar(exemplar: Exemplar) -> pb.Exemplar:
    return pb.Exemplar(
        trace_id=bytes.fromhex(exemplar.trace_id),
        span_id=bytes.fromhex(exemplar.span_id),
        as_double=exemplar.value,
        time_unix_nano=_nanoseconds(exemplar.time),
    )


def _nanoseconds(seconds: float) -> int:
    """Whole microseconds, which is what a float of seconds since 1970 is good for."""
    return round(seconds * 1_000_000) * 1000
