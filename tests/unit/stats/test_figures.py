"""Labelled figures as values."""

import pytest

from tasker_actors.stats.figures import OVERFLOW, Figures, HistogramValue, clean_labels, overflow_labels
from tasker_actors.telemetry.metrics import (
    DURATION_BOUNDS_MS,
    EVENTS_PUBLISHED,
    STEP_EXECUTION_DURATION,
    STEPS_ACTIVE,
    WORKERS_RESTARTS,
)


def test_counters_add_up_and_a_count_of_zero_makes_the_series():
    figures = Figures()
    figures.count(EVENTS_PUBLISHED, ("a",), 0)
    figures.count(EVENTS_PUBLISHED, ("b",), 2)
    figures.count(EVENTS_PUBLISHED, ("b",), 3)
    assert figures.counters == {EVENTS_PUBLISHED: {("a",): 0, ("b",): 5}}
    assert figures.total(EVENTS_PUBLISHED) == 5
    assert figures.total(WORKERS_RESTARTS) == 0


def test_a_gauge_shows_its_last_value_and_histograms_add_up():
    figures = Figures()
    figures.set_gauge(STEPS_ACTIVE, ("0",), 3.0)
    figures.set_gauge(STEPS_ACTIVE, ("0",), 1.0)
    for milliseconds in (0.05, 20000.0):
        figures.add_histogram(STEP_EXECUTION_DURATION, ("ns", "success"), HistogramValue().observe(milliseconds))
    assert figures.gauges == {STEPS_ACTIVE: {("0",): 1.0}}
    value = figures.histograms[STEP_EXECUTION_DURATION]["ns", "success"]
    assert (value.buckets[0], value.buckets[-1], value.count, value.total) == (1, 1, 2, 20000.05)


def test_sums_are_the_same_in_whatever_order_they_are_added():
    """Incarnations end in any order; a sum that fell by its last digit would be a reset to Prometheus."""
    one, two, three = (HistogramValue().observe(value) for value in (0.1, 0.2, 0.3))
    assert 0.1 + 0.2 + 0.3 != 0.1 + (0.2 + 0.3)
    assert (one + two) + three == one + (two + three)
    assert (one + two + three).total == 0.6


@pytest.mark.parametrize("bound", DURATION_BOUNDS_MS)
def test_a_bound_is_inclusive(bound):
    bucket = DURATION_BOUNDS_MS.index(bound)
    assert HistogramValue().observe(bound).buckets[bucket] == 1
    assert HistogramValue().observe(bound * 1.0001).buckets[bucket + 1] == 1


def test_labels_are_cut_and_made_storable():
    assert clean_labels(("x" * 256, "\udfff", "ok")) == ("x" * 255, "?", "ok")


def test_an_overflow_series_keeps_closed_labels_and_the_worker():
    names = ("worker", "namespace", "delivery_mode", "retryable", "result")
    assert overflow_labels(names, ("3", "ns", "fast", "true", "odd")) == ("3", OVERFLOW, "fast", "true", OVERFLOW)
