"""The plain counters of SPEC 3 and the settlement of a killed incarnation."""

import pytest

from tasker_actors.stats.counters import (
    CommittedCount,
    EventRouterStats,
    InProcessEventBusStats,
    RouterTally,
    Snapshot,
    settle,
)
from tasker_actors.stats.figures import OVERFLOW, Figures, HistogramValue
from tasker_actors.telemetry.metrics import (
    EVENT_REFUSALS,
    EVENTS_FAILED,
    EVENTS_PUBLISHED,
    STEP_EXECUTION_DURATION,
    STEPS_ACTIVE,
)

DURABLE = ("flights", "flight.delayed", "durable", "default")
FAST = ("flights", "flight.delayed", "fast", "default")
BROADCAST = ("flights", "flight.cancelled", "broadcast", "Alerts")


@pytest.mark.parametrize(
    ("tally", "total", "durable", "fast", "broadcast", "fast_errors", "routing_errors"),
    [
        (RouterTally(durable=1), 1, 1, 0, 0, 0, 0),
        (RouterTally(fast=1), 1, 0, 1, 0, 0, 0),
        (RouterTally(fast_refused=1), 1, 0, 0, 0, 1, 1),
        (RouterTally(broadcast=1), 1, 0, 0, 1, 0, 0),
        (RouterTally(broadcast=1, broadcast_refused=1), 1, 0, 0, 1, 1, 0),
        (RouterTally(unpublished=1), 1, 0, 0, 0, 0, 1),
    ],
)
def test_each_row_of_the_table_of_spec_3(tally, total, durable, fast, broadcast, fast_errors, routing_errors):
    assert tally.stats() == EventRouterStats(total, durable, fast, broadcast, fast_errors, routing_errors)


def test_fields_are_shown_in_the_order_of_the_specification():
    assert list(EventRouterStats().to_dict()) == [
        "total_routed",
        "durable_routed",
        "fast_routed",
        "broadcast_routed",
        "fast_delivery_errors",
        "routing_errors",
    ]
    assert list(InProcessEventBusStats().to_dict()) == [
        "total_events_dispatched",
        "rust_handler_dispatches",
        "ffi_channel_dispatches",
        "rust_handler_errors",
        "subscriber_drops",
        "ffi_channel_drops",
        "rust_subscriber_patterns",
        "rust_handler_count",
        "ffi_subscriber_count",
    ]


def test_stats_add_field_by_field():
    assert EventRouterStats(1, 2, 3, 4, 5, 6) + EventRouterStats(10, 20, 30, 40, 50, 60) == EventRouterStats(
        11, 22, 33, 44, 55, 66
    )
    bus = InProcessEventBusStats(1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert bus + bus == InProcessEventBusStats(2, 4, 6, 8, 10, 12, 14, 16, 18)
    assert RouterTally(1, 2, 3, 4, 5, 6) + RouterTally(6, 5, 4, 3, 2, 1) == RouterTally(7, 7, 7, 7, 7, 7)


def test_gauges_go_and_counters_stay():
    snapshot = Snapshot(
        router=RouterTally(durable=1),
        bus=InProcessEventBusStats(1, 2, 3, 4, 5, 6, 7, 8, 9),
        figures=Figures(
            counters={EVENTS_PUBLISHED: {DURABLE: 1}},
            gauges={STEPS_ACTIVE: {(): 3.0}},
            histograms={STEP_EXECUTION_DURATION: {("flights", "success"): HistogramValue().observe(1.0)}},
        ),
    )
    left = snapshot.without_gauges()
    assert left.router == snapshot.router
    assert left.bus == InProcessEventBusStats(1, 2, 3, 4, 5, 6, 0, 0, 0)
    assert left.figures == Figures(counters=snapshot.figures.counters, histograms=snapshot.figures.histograms)


def block(router, published, failed):
    return Snapshot(router=router, figures=Figures(counters={EVENTS_PUBLISHED: published, EVENTS_FAILED: failed}))


def test_what_was_committed_and_not_counted_is_added():
    killed = block(RouterTally(durable=2, broadcast=1), {DURABLE: 2, BROADCAST: 1}, {DURABLE: 0})
    settled = settle(killed, [CommittedCount(*DURABLE, 5, 1), CommittedCount(*BROADCAST, 1, 0)])
    assert settled.router.stats() == EventRouterStats(
        total_routed=7, durable_routed=5, fast_routed=0, broadcast_routed=1, fast_delivery_errors=0, routing_errors=1
    )
    assert settled.figures.counters == {
        EVENTS_PUBLISHED: {DURABLE: 5, BROADCAST: 1},
        EVENTS_FAILED: {DURABLE: 1, BROADCAST: 0},
    }


def test_fast_deliveries_are_what_the_block_says_and_their_dead_letters_what_the_database_says():
    killed = block(RouterTally(fast=4, fast_refused=2, unpublished=1), {FAST: 4}, {FAST: 1})
    settled = settle(killed, [CommittedCount(*FAST, 0, 3)])
    assert settled.router == RouterTally(fast=4, fast_refused=2, unpublished=3)
    assert settled.router.stats().routing_errors == 5
    assert settled.figures.counters == {EVENTS_PUBLISHED: {FAST: 4}, EVENTS_FAILED: {FAST: 3}}


def test_a_published_figure_of_the_database_is_not_taken_for_a_fast_delivery():
    settled = settle(Snapshot(), [CommittedCount(*FAST, 9, 0)])
    assert settled.router == RouterTally()
    assert settled.figures.counters == {EVENTS_PUBLISHED: {FAST: 0}, EVENTS_FAILED: {FAST: 0}}


def test_no_figure_falls_whatever_the_database_says():
    killed = block(RouterTally(durable=7, unpublished=3), {DURABLE: 7}, {DURABLE: 3})
    assert settle(killed, [CommittedCount(*DURABLE, 1, 0)]).figures == killed.figures
    assert settle(killed, []).router == killed.router


def test_a_label_set_that_the_block_never_saw_is_made():
    assert settle(Snapshot(), [CommittedCount(*DURABLE, 2, 0)]).figures.counters[EVENTS_PUBLISHED] == {DURABLE: 2}


def test_rows_of_one_label_set_add_up():
    settled = settle(Snapshot(), [CommittedCount(*DURABLE, 2, 1), CommittedCount(*DURABLE, 3, 0)])
    assert settled.figures.counters == {EVENTS_PUBLISHED: {DURABLE: 5}, EVENTS_FAILED: {DURABLE: 1}}
    assert settled.router == RouterTally(durable=5, unpublished=1)


def test_what_the_block_counted_in_an_overflow_series_is_not_counted_again():
    overflow = (OVERFLOW, OVERFLOW, "durable", OVERFLOW)
    killed = block(RouterTally(durable=6), {DURABLE: 1, overflow: 5}, {})
    other, third = ("flights", "a.b", "durable", "default"), ("flights", "a.c", "durable", "default")
    rows = [CommittedCount(*DURABLE, 1, 0), CommittedCount(*other, 4, 0), CommittedCount(*third, 3, 0)]
    settled = settle(killed, rows)
    assert settled.figures.counters[EVENTS_PUBLISHED] == {DURABLE: 1, overflow: 7}
    assert settled.router.durable == 8


def test_a_row_is_found_under_the_label_as_the_block_stores_it():
    long = ("flights", "flight.delayed", "durable", "P" * 400)
    stored = (*long[:3], "P" * 255)
    killed = block(RouterTally(durable=1), {stored: 1}, {stored: 0})
    assert settle(killed, [CommittedCount(*long, 1, 0)]) == killed


def test_other_figures_are_left_alone_and_the_snapshot_is_not_changed():
    killed = Snapshot(figures=Figures(counters={EVENT_REFUSALS: {("flights", "too_large"): 2}}))
    settled = settle(killed, [CommittedCount(*DURABLE, 1, 0)])
    assert settled.figures.counters[EVENT_REFUSALS] == {("flights", "too_large"): 2}
    assert killed.figures.counters == {EVENT_REFUSALS: {("flights", "too_large"): 2}}
