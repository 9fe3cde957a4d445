"""The OpenMetrics text, read back with the parser of that format, and compared with the Prometheus text."""

from itertools import pairwise

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from tasker_actors.stats.exposition import openmetrics_text, prometheus_text
from tasker_actors.stats.figures import Exemplar, Figures, HistogramValue
from tasker_actors.telemetry.metrics import (
    DURATION_BOUNDS_MS,
    EVENT_PUBLISH_DURATION,
    EVENTS_PUBLISHED,
    QUEUE_OLDEST_MESSAGE_AGE,
    TABLE,
    WORKERS_ALIVE,
    MetricKind,
)

DELAYED = ("flights", "flight.delayed", "durable", "default")
TIMED = ("flights", "durable", "success")
BEGAN = 1_764_582_000.25
EXEMPLAR = Exemplar("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 3.5, 1_764_582_600.125)
NAME = "tasker_domain_events_publish_duration_milliseconds"

FIGURES = Figures(
    counters={EVENTS_PUBLISHED: {DELAYED: 2}},
    gauges={QUEUE_OLDEST_MESSAGE_AGE: {("flights", "steps"): 1.5}, WORKERS_ALIVE: {("0",): 1.0}},
    histograms={EVENT_PUBLISH_DURATION: {TIMED: HistogramValue().observe(3.5).observe(0.2)}},
    exemplars={EVENTS_PUBLISHED: {DELAYED: {0: EXEMPLAR}}, EVENT_PUBLISH_DURATION: {TIMED: {5: EXEMPLAR}}},
    began={EVENTS_PUBLISHED: {DELAYED: BEGAN}, EVENT_PUBLISH_DURATION: {TIMED: BEGAN}},
)


def families(figures):
    return {family.name: family for family in openmetrics_families(openmetrics_text(figures).decode())}


def samples(family, suffix):
    return [sample for sample in family.samples if sample.name == family.name + suffix]


def test_every_metric_of_the_table_has_its_type_unit_and_help():
    shown = families(Figures())
    assert list(shown) == [m.prometheus_name.removesuffix("_total") for m in TABLE if m.counted_in is None]
    units = {"": "", "ms": "milliseconds", "s": "seconds"}
    for metric in TABLE:
        if metric.counted_in is None:
            family = shown[metric.prometheus_name.removesuffix("_total")]
            assert (family.type, family.unit, family.documentation) == (
                metric.kind.value,
                units[metric.unit],
                metric.help,
            )
            assert family.name.endswith(family.unit)


def test_it_ends_as_the_format_wants():
    assert openmetrics_text(Figures()).endswith(b"\n# EOF\n")


def test_a_counter_says_when_it_began_and_which_span_it_counted():
    family = families(FIGURES)["tasker_domain_events_published"]
    [total], [created] = samples(family, "_total"), samples(family, "_created")
    assert total.value == 2
    assert total.labels == created.labels == dict(zip(EVENTS_PUBLISHED.labels, DELAYED, strict=True))
    assert created.value == BEGAN
    assert total.exemplar.labels == {"trace_id": EXEMPLAR.trace_id, "span_id": EXEMPLAR.span_id}
    assert total.exemplar.value == 3.5
    assert float(total.exemplar.timestamp) == EXEMPLAR.time


def test_a_bucket_has_the_exemplar_that_fell_into_it_and_no_other_has():
    family = families(FIGURES)[NAME]
    buckets = samples(family, "_bucket")
    assert [float(bucket.labels["le"]) for bucket in buckets] == [*DURATION_BOUNDS_MS, float("inf")]
    [(below, marked)] = [pair for pair in pairwise(buckets) if pair[1].exemplar is not None]
    assert float(below.labels["le"]) < marked.exemplar.value <= float(marked.labels["le"])
    [created] = samples(family, "_created")
    assert created.value == BEGAN
    assert [sample.value for sample in (*samples(family, "_count"), *samples(family, "_sum"))] == [2, 3.7]


def test_exemplars_stay_within_the_characters_that_the_format_allows():
    labels = {"trace_id": EXEMPLAR.trace_id, "span_id": EXEMPLAR.span_id}
    assert sum(len(name) + len(value) for name, value in labels.items()) <= 128


def test_the_prometheus_text_has_the_same_figures_and_none_of_the_additions():
    text = prometheus_text(FIGURES).decode()
    assert "_created" not in text
    assert EXEMPLAR.trace_id not in text
    assert "# UNIT" not in text
    assert "# EOF" not in text

    def figures(found):
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in found
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    in_text = figures(text_families(text))
    assert in_text == figures(openmetrics_families(openmetrics_text(FIGURES).decode()))
    assert len(in_text) == 1 + 2 + len(DURATION_BOUNDS_MS) + 3


def test_gauges_have_neither_a_beginning_nor_exemplars():
    shown = families(FIGURES)
    kinds = {m.prometheus_name: m.kind for m in TABLE}
    for name, kind in kinds.items():
        if kind is MetricKind.GAUGE:
            assert {sample.name for sample in shown[name].samples} <= {name}
