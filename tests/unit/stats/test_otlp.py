"""The OTLP request, as a collector decodes it, and compared with what Prometheus scrapes at the same moment."""

import math
from importlib.metadata import version

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from prometheus_client.parser import text_string_to_metric_families

from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.book import StatsBook, WorkerIdentity
from tasker_actors.stats.exposition import prometheus_text
from tasker_actors.stats.figures import Exemplar, Figures, HistogramValue
from tasker_actors.stats.layout import DURABLE, EVENTS_DISPATCHED
from tasker_actors.stats.otlp import metrics_request
from tasker_actors.stats.reader import BlockReader
from tasker_actors.telemetry.metrics import (
    BY_INSTRUMENT,
    DURATION_BOUNDS_MS,
    EVENT_PUBLISH_DURATION,
    EVENTS_PUBLISHED,
    QUEUE_DEPTH,
    TABLE,
    MetricKind,
)

DELAYED = ("flights", "flight.delayed", "durable", "default")
TIMED = ("flights", "durable", "success")
EXEMPLAR = Exemplar("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 3.5, 1_764_582_600.125)


def decoded(figures):
    """The metrics by name, after a way through the wire format."""
    request = ExportMetricsServiceRequest.FromString(metrics_request(figures).SerializeToString())
    [resource] = request.resource_metrics
    [scoped] = resource.scope_metrics
    assert (scoped.scope.name, scoped.scope.version) == ("tasker", version("tasker-actors"))
    return {metric.name: metric for metric in scoped.metrics}


def attributes(point):
    return {each.key: each.value.string_value for each in point.attributes}


def every_metric():
    """Two series of each metric of the table, with figures that are all different."""
    figures = Figures(time=200.0)
    for number, metric in enumerate(TABLE):
        for series in (1, 2):
            labels = tuple(f"{label}-{series}" for label in metric.labels)
            amount = number * 10 + series
            match metric.kind:
                case MetricKind.COUNTER:
                    figures.count(metric, labels, amount)
                case MetricKind.GAUGE:
                    figures.set_gauge(metric, labels, amount + 0.5)
                case MetricKind.HISTOGRAM:
                    value = HistogramValue().observe(float(amount)).observe(0.1).observe(1e9)
                    figures.add_histogram(metric, labels, value)
    return figures


def of_otlp(metrics):
    """Every figure under its Prometheus name and labels, as a scrape has it."""
    found = {}
    for metric in metrics.values():
        name = BY_INSTRUMENT[metric.name].prometheus_name
        points = getattr(metric, metric.WhichOneof("data")).data_points
        for point in points:
            labels = attributes(point)
            if metric.WhichOneof("data") != "histogram":
                found[name, *sorted(labels.items())] = getattr(point, point.WhichOneof("value"))
                continue
            found[f"{name}_count", *sorted(labels.items())] = point.count
            found[f"{name}_sum", *sorted(labels.items())] = point.sum
            total = 0
            for bound, count in zip((*point.explicit_bounds, math.inf), point.bucket_counts, strict=True):
                total += count
                found[f"{name}_bucket", *sorted({**labels, "le": bound}.items())] = total
    return found


def of_text(figures):
    found = {}
    for family in text_string_to_metric_families(prometheus_text(figures).decode()):
        for sample in family.samples:
            labels = {name: float(value) if name == "le" else value for name, value in sample.labels.items()}
            found[sample.name, *sorted(labels.items())] = sample.value
    return found


def test_prometheus_and_a_collector_get_the_same_figures():
    figures = every_metric()
    metrics = decoded(figures)
    assert list(metrics) == [metric.instrument for metric in TABLE if metric.counted_in is None]
    assert of_otlp(metrics) == of_text(figures)


def test_the_same_for_a_real_worker(tmp_path):
    path = create_block(tmp_path, slot=0, incarnation=1, executors=1)
    block, book = BlockWriter(path), StatsBook()
    book.attach(WorkerIdentity(0, 1, "w"), BlockReader(path))
    block.router[DURABLE] += 2
    block.bus[EVENTS_DISPATCHED] += 3
    block.counter(EVENTS_PUBLISHED, DELAYED).add(2)
    block.histogram(EVENT_PUBLISH_DURATION, TIMED).observe(3.0)
    book.set_gauge(QUEUE_DEPTH, ("flights", "steps"), 7)
    figures = book.figures()
    assert of_otlp(decoded(figures)) == of_text(figures)
    book.retire(0, 1, None)


@pytest.mark.parametrize(
    "metric", [each for each in TABLE if each.counted_in is None], ids=lambda each: each.instrument
)
def test_kind_unit_and_description_are_those_of_the_table(metric):
    found = decoded(every_metric())[metric.instrument]
    assert (found.unit, found.description) == (metric.unit, metric.help)
    match metric.kind:
        case MetricKind.COUNTER:
            assert found.sum.is_monotonic
            assert found.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
            points = found.sum.data_points
        case MetricKind.GAUGE:
            points = found.gauge.data_points
        case MetricKind.HISTOGRAM:
            assert found.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
            points = found.histogram.data_points
            assert all(tuple(point.explicit_bounds) == DURATION_BOUNDS_MS for point in points)
            assert all(sum(point.bucket_counts) == point.count == 3 for point in points)
    assert all(tuple(attributes(point)) == metric.labels for point in points)
    assert all(point.time_unix_nano == 200_000_000_000 for point in points)


def test_start_times_and_exemplars():
    value = HistogramValue().observe(3.5)
    metrics = decoded(
        Figures(
            counters={EVENTS_PUBLISHED: {DELAYED: 1}},
            histograms={EVENT_PUBLISH_DURATION: {TIMED: value}},
            exemplars={EVENTS_PUBLISHED: {DELAYED: {0: EXEMPLAR}}, EVENT_PUBLISH_DURATION: {TIMED: {5: EXEMPLAR}}},
            began={EVENTS_PUBLISHED: {DELAYED: 100.5}, EVENT_PUBLISH_DURATION: {TIMED: 101.5}},
            time=200.0,
        )
    )
    [counted] = metrics[EVENTS_PUBLISHED.instrument].sum.data_points
    [timed] = metrics[EVENT_PUBLISH_DURATION.instrument].histogram.data_points
    assert (counted.start_time_unix_nano, timed.start_time_unix_nano) == (100_500_000_000, 101_500_000_000)
    for point in (counted, timed):
        [exemplar] = point.exemplars
        assert exemplar.trace_id.hex() == EXEMPLAR.trace_id
        assert exemplar.span_id.hex() == EXEMPLAR.span_id
        assert exemplar.as_double == 3.5
        assert exemplar.time_unix_nano == 1_764_582_600_125_000_000


def test_what_has_no_figures_is_not_sent_and_the_resource_is_left_to_the_sender():
    request = metrics_request(Figures())
    [resource] = request.resource_metrics
    assert not resource.HasField("resource")
    assert not resource.scope_metrics[0].metrics
