"""The Prometheus text, read back with Prometheus' own parser."""

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.book import StatsBook, WorkerIdentity
from tasker_actors.stats.exposition import (
    OPENMETRICS_CONTENT_TYPE,
    TEXT_CONTENT_TYPE,
    prometheus_text,
)
from tasker_actors.stats.figures import Figures, HistogramValue
from tasker_actors.stats.layout import DURABLE, EVENTS_DISPATCHED
from tasker_actors.stats.reader import BlockReader
from tasker_actors.telemetry.metrics import (
    DURATION_BOUNDS_MS,
    EVENT_PUBLISH_DURATION,
    EVENT_REFUSALS,
    EVENTS_PUBLISHED,
    QUEUE_OLDEST_MESSAGE_AGE,
    STEPS_ACTIVE,
    TABLE,
)

DELAYED = ("flights", "flight.delayed", "durable", "default")


def families(text):
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def samples(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(text).values()
        for sample in family.samples
    }


def test_the_content_type():
    assert TEXT_CONTENT_TYPE == "text/plain; version=0.0.4"
    assert OPENMETRICS_CONTENT_TYPE == "application/openmetrics-text; version=1.0.0; charset=utf-8"


def test_a_scrape_of_a_real_worker(tmp_path):
    path = create_block(tmp_path, slot=0, incarnation=1, executors=1)
    block, book = BlockWriter(path), StatsBook()
    book.attach(WorkerIdentity(0, 1, "w"), BlockReader(path))
    block.router[DURABLE] += 2
    block.bus[EVENTS_DISPATCHED] += 3
    block.counter(EVENTS_PUBLISHED, DELAYED).add(2)
    block.gauge(STEPS_ACTIVE, ()).set(4)
    book.set_gauge(QUEUE_OLDEST_MESSAGE_AGE, ("flights", "flights_domain_events"), 1.5)

    shown = samples(prometheus_text(book.figures()))
    assert shown["router_durable_routed_total", (("worker", "0"),)] == 2
    assert shown["router_routed_total", (("worker", "0"),)] == 2
    assert shown["router_fast_routed_total", (("worker", "0"),)] == 0
    assert shown["in_process_bus_events_dispatched_total", (("worker", "0"),)] == 3
    assert shown["tasker_steps_active_executions", (("worker", "0"),)] == 4
    assert shown["tasker_workers_alive", (("worker", "0"),)] == 1
    event = tuple(sorted(zip(EVENTS_PUBLISHED.labels, DELAYED, strict=True)))
    assert shown["tasker_domain_events_published_total", event] == 2
    queue = (("namespace", "flights"), ("queue", "flights_domain_events"))
    assert shown["tasker_queue_oldest_message_age_seconds", queue] == 1.5
    book.retire(0, 1, None)


def test_a_histogram_has_cumulative_buckets_sum_and_count():
    value = HistogramValue()
    for milliseconds in (0.1, 0.2, 3.0, 20000.0):
        value = value.observe(milliseconds)
    labels = ("flights", "durable", "success")
    text = prometheus_text(Figures(histograms={EVENT_PUBLISH_DURATION: {labels: value}}))
    name = "tasker_domain_events_publish_duration_milliseconds"
    family = families(text)[name]
    assert family.type == "histogram"
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if sample.name == f"{name}_bucket"}
    assert [float(le) for le in buckets] == [*DURATION_BOUNDS_MS, float("inf")]
    assert (buckets["0.1"], buckets["0.25"], buckets["2.5"], buckets["5.0"], buckets["+Inf"]) == (1, 2, 2, 3, 4)
    by_name = {sample.name: sample.value for sample in family.samples if not sample.name.endswith("_bucket")}
    assert by_name == {f"{name}_count": 4, f"{name}_sum": pytest.approx(20003.3)}


def test_every_family_is_named_once_by_the_table_with_its_type():
    text = prometheus_text(Figures()).decode()
    types = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE"))
    assert types == {m.prometheus_name: m.kind.value for m in TABLE if m.counted_in is None}
    assert text.count("# TYPE") == text.count("# HELP") == len(types)
    assert "_total_total" not in text
    assert "_created" not in text


def test_no_label_can_break_out_of_its_quotes():
    evil = 'a"} 1\nrouter_routed_total{worker="9"} 1e9\n\\'
    text = prometheus_text(Figures(counters={EVENT_REFUSALS: {("flights", evil): 1}}))
    assert samples(text) == {
        ("tasker_domain_events_refusals_total", (("error_type", evil), ("namespace", "flights"))): 1
    }


def test_the_global_registry_is_not_touched():
    before = list(prometheus_client.REGISTRY.collect())
    prometheus_text(Figures(counters={EVENT_REFUSALS: {("flights", "x"): 1}}))
    assert {family.name for family in prometheus_client.REGISTRY.collect()} == {family.name for family in before}
