"""Figures as Prometheus names them, whether they were scraped or exported over OTLP."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families
from support.otlp_receiver import ReceivedPoint

from tasker_actors.stats.otlp import METER
from tasker_actors.telemetry.metrics import BY_INSTRUMENT, Metric, MetricKind

Labels = frozenset[tuple[str, str]]

Figures = dict[str, dict[Labels, float]]
"""By sample name and label set."""


def scraped(text: str) -> Figures:
    """Read what `GET /metrics` answered."""
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def exported(points: Sequence[ReceivedPoint]) -> Figures:
    """Take each series' newest figure of a supervisor's exports; of a histogram its count."""
    found: Figures = {}
    for point in points:
        if point.scope == METER:
            value = point.value[0] if point.kind == "histogram" else point.value
            series = found.setdefault(counting_sample(BY_INSTRUMENT[point.metric]), {})
            series[frozenset(point.attributes.items())] = float(value)
    return found


def counting_sample(metric: Metric) -> str:
    """Return the name of a metric's sample; of a histogram the one that counts."""
    return metric.prometheus_name + ("_count" if metric.kind is MetricKind.HISTOGRAM else "")
