"""Shows figures to Prometheus, as text and as OpenMetrics, and to clients of `GET /metrics/events` (SPEC 4.3, 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Exemplar as ShownExemplar
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from tasker_actors.stats.book import SlotStats, StatsBook
from tasker_actors.stats.counters import EventRouterStats, InProcessEventBusStats
from tasker_actors.stats.figures import Exemplar, Figures, HistogramValue, Labels
from tasker_actors.telemetry.metrics import DURATION_BOUNDS_MS, TABLE, Metric, MetricKind

TEXT_CONTENT_TYPE: Final = "text/plain; version=0.0.4"
OPENMETRICS_CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_BUCKET_NAMES: Final = (*map(str, DURATION_BOUNDS_MS), "+Inf")
_UNIT_WORDS: Final = {"": "", "ms": "milliseconds", "s": "seconds"}


def prometheus_text(figures: Figures) -> bytes:
    """The scrape of these figures, of content type `TEXT_CONTENT_TYPE`: every metric of the table, in its order.

    A metric without figures has its HELP and TYPE lines only. Touches no global registry.
    """
    return generate_latest(_registry(_FiguresCollector(figures)))


def openmetrics_text(figures: Figures) -> bytes:
    """The same of content type `OPENMETRICS_CONTENT_TYPE`, with units, exemplars, and when each series began."""
    text: bytes = generate_openmetrics(  # type: ignore[no-untyped-call] # the package leaves this module untyped
        _registry(_OpenMetricsCollector(figures))
    )
    return text


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


class _FiguresCollector(Collector):
    """Hands one set of figures to prometheus-client."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def describe(self) -> Iterator[Family]:
        """Nothing: the registry is used once, so there is no other collector to collide with."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """One family for each metric that is exported itself."""
        return (self._family(metric) for metric in TABLE if metric.counted_in is None)

    def _family(self, metric: Metric) -> Family:
        match metric.kind:
            case MetricKind.COUNTER:
                return self._counter(metric)
            case MetricKind.GAUGE:
                return self._gauge(metric)
            case MetricKind.HISTOGRAM:
                return self._histogram(metric)

    def _counter(self, metric: Metric) -> Family:
        family = CounterMetricFamily(metric.prometheus_name, metric.help, labels=metric.labels)
        for labels, count in self._figures.counters.get(metric, {}).items():
            exemplar = self._exemplars(metric, labels).get(0)
            family.add_metric(labels, count, created=self._began(metric, labels), exemplar=exemplar)
        return family

    def _gauge(self, metric: Metric) -> Family:
        unit = _UNIT_WORDS[metric.unit]
        family = GaugeMetricFamily(metric.prometheus_name, metric.help, labels=metric.labels, unit=unit)
        for labels, number in self._figures.gauges.get(metric, {}).items():
            family.add_metric(labels, number)
        return family

    def _histogram(self, metric: Metric) -> Family:
        unit = _UNIT_WORDS[metric.unit]
        family = HistogramMetricFamily(metric.prometheus_name, metric.help, labels=metric.labels, unit=unit)
        for labels, value in self._figures.histograms.get(metric, {}).items():
            family.add_metric(labels, _buckets(value, self._exemplars(metric, labels)), value.total)
            began = self._began(metric, labels)
            if began is not None:
                named = dict(zip(metric.labels, labels, strict=True))
                family.add_sample(f"{metric.prometheus_name}_created", named, began)
        return family

    def _began(self, _metric: Metric, _labels: Labels) -> float | None:
        """The text format has no place for it: it would make series of their own."""
        return None

    def _exemplars(self, _metric: Metric, _labels: Labels) -> dict[int, ShownExemplar]:
        """The text format has no exemplars."""
        return {}


class _OpenMetricsCollector(_FiguresCollector):
    """Hands over what only OpenMetrics can say, too."""

    def _began(self, metric: Metric, labels: Labels) -> float | None:
        return self._figures.began.get(metric, {}).get(labels)

    def _exemplars(self, metric: Metric, labels: Labels) -> dict[int, ShownExemplar]:
        by_bucket = self._figures.exemplars.get(metric, {}).get(labels, {})
        return {bucket: _shown(exemplar) for bucket, exemplar in by_bucket.items()}


def _shown(exemplar: Exemplar) -> ShownExemplar:
    """63 of the 128 characters that OpenMetrics allows for labels."""
    labels = {"trace_id": exemplar.trace_id, "span_id": exemplar.span_id}
    return ShownExemplar(labels, exemplar.value, exemplar.time)


def _buckets(
    value: HistogramValue, exemplars: dict[int, ShownExemplar]
) -> list[tuple[str, float] | tuple[str, float, ShownExemplar]]:
    """Buckets as Prometheus wants them: each with all below it."""
    return [
        (name, count, exemplars[bucket]) if bucket in exemplars else (name, count)
        for bucket, (name, count) in enumerate(zip(_BUCKET_NAMES, accumulate(value.buckets), strict=True))
    ]


def event_stats_document(book: StatsBook, worker_id: str, now: datetime) -> dict[str, Any]:
    """The body of `GET /metrics/events`, keys in SPEC's order.

    `worker_id` is the supervisor's and `now` an aware time. The top level is the sum of the slots, and each slot's row
    the sum of its incarnations; gauges in it are of live workers only.
    """
    slots = book.slots()
    return {
        "router": sum((slot.router for slot in slots), EventRouterStats()).to_dict(),
        "in_process_bus": sum((slot.bus for slot in slots), InProcessEventBusStats()).to_dict(),
        "captured_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "worker_id": worker_id,
        "workers": _rows(slots),
    }


def _rows(slots: Sequence[SlotStats]) -> list[dict[str, Any]]:
    return [
        {
            "slot": slot.worker.slot,
            "worker_id": slot.worker.worker_id,
            "incarnation": slot.worker.incarnation,
            "alive": slot.alive,
            "router": slot.router.to_dict(),
            "in_process_bus": slot.bus.to_dict(),
        }
        for slot in slots
    ]
