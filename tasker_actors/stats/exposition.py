"""Shows figures to Prometheus and to clients of `GET /metrics/events` (SPEC 4.3, 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from tasker_actors.stats.book import SlotStats, StatsBook
from tasker_actors.stats.counters import EventRouterStats, InProcessEventBusStats
from tasker_actors.stats.figures import Figures, HistogramValue
from tasker_actors.telemetry.metrics import DURATION_BOUNDS_MS, TABLE, Metric, MetricKind

TEXT_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_BUCKET_NAMES: Final = (*map(str, DURATION_BOUNDS_MS), "+Inf")


def prometheus_text(figures: Figures) -> bytes:
    """The scrape of these figures, of content type `TEXT_CONTENT_TYPE`: every metric of the table, in its order.

    A metric without figures has its HELP and TYPE lines only. Touches no global registry.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FiguresCollector(figures))
    return generate_latest(registry)


class _FiguresCollector(Collector):
    """Hands one set of figures to prometheus-client."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def describe(self) -> Iterator[Family]:
        """Nothing: the registry is used once, so there is no other collector to collide with."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """One family for each metric that is exported itself."""
        return (_family(metric, self._figures) for metric in TABLE if metric.counted_in is None)


def _family(metric: Metric, figures: Figures) -> Family:
    name, text, labels = metric.prometheus_name, metric.help, metric.labels
    match metric.kind:
        case MetricKind.COUNTER:
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, count in figures.counters.get(metric, {}).items():
                counter.add_metric(values, count)
            return counter
        case MetricKind.GAUGE:
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for values, number in figures.gauges.get(metric, {}).items():
                gauge.add_metric(values, number)
            return gauge
        case MetricKind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for values, value in figures.histograms.get(metric, {}).items():
                histogram.add_metric(values, _buckets(value), value.total)
            return histogram


def _buckets(value: HistogramValue) -> list[tuple[str, float]]:
    """Buckets as Prometheus wants them: each with all below it."""
    return list(zip(_BUCKET_NAMES, accumulate(value.buckets), strict=True))


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
