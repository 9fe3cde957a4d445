"""Slots, incarnations and the supervisor added up."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tasker_actors.stats.book import StatsBook, WorkerIdentity
from tasker_actors.stats.counters import (
    CommittedCount,
    EventRouterStats,
    InProcessEventBusStats,
    RouterTally,
    Snapshot,
)
from tasker_actors.stats.exposition import event_stats_document
from tasker_actors.stats.figures import OVERFLOW, Exemplar, Figures, HistogramValue
from tasker_actors.telemetry.metrics import (
    ACTORS_MAILBOX_DEPTH,
    EVENT_REFUSALS,
    EVENTS_FAILED,
    EVENTS_PUBLISHED,
    EVENTS_REFUSED_BY_BUS,
    OVERFLOWS,
    QUEUE_DEPTH,
    ROUTER_DURABLE_ROUTED,
    ROUTER_ROUTED,
    SPANS_DROPPED,
    STEP_EXECUTION_DURATION,
    STEPS_ACTIVE,
    TASK_REQUESTS,
    WORKERS_ALIVE,
    WORKERS_RESTARTS,
)

DURABLE = ("flights", "flight.delayed", "durable", "default")
FAST = ("flights", "flight.delayed", "fast", "default")


class Block:
    """Figures that a test sets, in the place of a memory block."""

    def __init__(self, snapshot=None):
        self.now = snapshot or Snapshot()
        self.removed = False
        self.cells = {}

    def snapshot(self):
        assert not self.removed
        return self.now

    def locate(self, cell):
        return self.cells.get(cell)

    def remove(self):
        self.removed = True


def worker(slot, incarnation):
    return WorkerIdentity(slot, incarnation, f"worker-{slot}.{incarnation}")


def durable(count):
    return Snapshot(router=RouterTally(durable=count), figures=Figures(counters={EVENTS_PUBLISHED: {DURABLE: count}}))


def test_a_book_with_nothing_in_it():
    book = StatsBook()
    assert book.slots() == []
    assert book.figures() == Figures()


def test_slots_keep_their_own_router_figures_and_share_labelled_ones():
    book = StatsBook()
    book.attach(worker(0, 1), Block(durable(2)))
    book.attach(worker(1, 1), Block(durable(3)))
    shown = book.figures()
    assert shown.counters[ROUTER_DURABLE_ROUTED] == {("0",): 2, ("1",): 3}
    assert shown.counters[EVENTS_PUBLISHED] == {DURABLE: 5}
    assert shown.gauges[WORKERS_ALIVE] == {("0",): 1.0, ("1",): 1.0}


def test_figures_are_read_at_the_moment_they_are_asked_for():
    book, block = StatsBook(), Block(durable(1))
    book.attach(worker(0, 1), block)
    book.figures()
    block.now = durable(4)
    assert book.figures().counters[EVENTS_PUBLISHED] == {DURABLE: 4}


def test_a_dead_workers_gauges_go_at_once_and_its_counters_stay():
    book = StatsBook()
    snapshot = Snapshot(
        router=RouterTally(durable=1),
        bus=InProcessEventBusStats(total_events_dispatched=4, rust_handler_count=3),
        figures=Figures(counters={SPANS_DROPPED: {(): 2}}, gauges={STEPS_ACTIVE: {(): 5.0}}),
    )
    block = Block(snapshot)
    book.attach(worker(0, 1), block)
    assert book.figures().gauges == {STEPS_ACTIVE: {("0",): 5.0}, WORKERS_ALIVE: {("0",): 1.0}}
    assert book.slots()[0].bus.rust_handler_count == 3

    book.mark_dead(0, 1)
    for _ in range(2):
        assert book.figures().gauges == {}
        assert book.figures().counters[SPANS_DROPPED] == {("0",): 2}
        [slot] = book.slots()
        assert (slot.alive, slot.router.total_routed, slot.bus.total_events_dispatched) == (False, 1, 4)
        assert slot.bus.rust_handler_count == 0
        if not block.removed:
            book.retire(0, 1, None)
    assert block.removed


def test_the_next_incarnation_continues_the_slots_counters():
    book = StatsBook()
    book.attach(worker(0, 1), Block(durable(2)))
    book.mark_dead(0, 1)
    book.attach(worker(0, 2), Block(durable(5)))
    assert book.figures().counters[ROUTER_DURABLE_ROUTED] == {("0",): 7}
    book.retire(0, 1, [CommittedCount(*DURABLE, 3, 0)])
    assert book.figures().counters[ROUTER_DURABLE_ROUTED] == {("0",): 8}
    assert book.figures().counters[EVENTS_PUBLISHED] == {DURABLE: 8}
    [slot] = book.slots()
    assert (slot.worker, slot.alive) == (worker(0, 2), True)


def test_two_live_incarnations_count_together_and_the_newest_speaks_for_the_slot():
    """A worker that is being replaced drains while its successor already runs."""
    book = StatsBook()
    for incarnation, running in ((2, 7.0), (1, 1.0)):
        snapshot = Snapshot(
            router=RouterTally(fast=incarnation), figures=Figures(gauges={ACTORS_MAILBOX_DEPTH: {("bus",): running}})
        )
        book.attach(worker(0, incarnation), Block(snapshot))
    assert book.figures().gauges == {ACTORS_MAILBOX_DEPTH: {("0", "bus"): 7.0}, WORKERS_ALIVE: {("0",): 1.0}}
    assert book.slots()[0].router.fast_routed == 3
    book.mark_dead(0, 2)
    assert book.figures().gauges[ACTORS_MAILBOX_DEPTH] == {("0", "bus"): 1.0}
    assert book.slots()[0].worker == worker(0, 1)


def test_what_the_bus_refused_is_shown_as_failed():
    book = StatsBook()
    counters = {EVENTS_FAILED: {FAST: 2}, EVENTS_REFUSED_BY_BUS: {FAST: 3}}
    snapshot = Snapshot(RouterTally(fast_refused=3, unpublished=2), figures=Figures(counters=counters))
    book.attach(worker(0, 1), Block(snapshot))
    assert book.figures().counters[EVENTS_FAILED] == {FAST: 5}
    book.retire(0, 1, [CommittedCount(*FAST, 0, 4)])
    shown = book.figures()
    assert shown.counters[EVENTS_FAILED] == {FAST: 7}
    assert EVENTS_REFUSED_BY_BUS not in shown.counters
    assert book.slots()[0].router.routing_errors == 7


def test_the_supervisors_own_figures():
    book = StatsBook()
    book.count(TASK_REQUESTS, ("flights", "delay_report"))
    book.count(TASK_REQUESTS, ("flights", "delay_report"), 4)
    book.count(WORKERS_RESTARTS, ("0", "killed"), 0)
    book.observe(STEP_EXECUTION_DURATION, ("flights", "success"), 3.0)
    book.set_gauge(QUEUE_DEPTH, ("flights", "steps"), 9)
    shown = book.figures()
    assert shown.counters == {TASK_REQUESTS: {("flights", "delay_report"): 5}, WORKERS_RESTARTS: {("0", "killed"): 0}}
    assert shown.histograms == {STEP_EXECUTION_DURATION: {("flights", "success"): HistogramValue().observe(3.0)}}
    assert shown.gauges == {QUEUE_DEPTH: {("flights", "steps"): 9}}
    with pytest.raises(ValueError, match="cannot fall by 1"):
        book.count(TASK_REQUESTS, ("flights", "delay_report"), -1)


def test_a_label_of_the_supervisor_is_cleaned_like_a_workers():
    book = StatsBook()
    for character in ("\ud800", "\udfff", "?"):
        book.count(WORKERS_RESTARTS, ("0", character))
    assert book.figures().counters[WORKERS_RESTARTS] == {("0", "?"): 3}


def test_own_and_worker_figures_of_one_series_add_up_and_asking_changes_nothing():
    book = StatsBook()
    value = HistogramValue().observe(1.0)
    figures = Figures(
        counters={EVENT_REFUSALS: {("flights", "too_large"): 1}},
        histograms={STEP_EXECUTION_DURATION: {("flights", "success"): value}},
    )
    book.attach(worker(0, 1), Block(Snapshot(figures=figures)))
    book.count(EVENT_REFUSALS, ("flights", "too_large"), 2)
    book.observe(STEP_EXECUTION_DURATION, ("flights", "success"), 1.0)
    first = book.figures()
    assert first.counters[EVENT_REFUSALS] == {("flights", "too_large"): 3}
    assert first.histograms[STEP_EXECUTION_DURATION]["flights", "success"].count == 2
    first.gauges.clear()
    first.counters[EVENT_REFUSALS].clear()
    assert book.figures().counters[EVENT_REFUSALS] == {("flights", "too_large"): 3}


def test_a_queue_that_vanished_vanishes_from_the_gauges():
    book = StatsBook()
    book.replace_gauges(QUEUE_DEPTH, {("a", "steps"): 1, ("b", "steps"): 2})
    book.replace_gauges(QUEUE_DEPTH, {("b", "steps"): 3})
    assert book.figures().gauges == {QUEUE_DEPTH: {("b", "steps"): 3}}


def test_a_series_once_shown_is_never_blurred_into_the_overflow_series():
    """With room for two label sets, the third overflows, also when the first two came from workers that are gone."""
    book = StatsBook(label_sets_per_metric=2)

    def refusals(**codes):
        return Block(Snapshot(figures=Figures(counters={EVENT_REFUSALS: {("ns", c): n for c, n in codes.items()}})))

    book.attach(worker(0, 1), refusals(a=1))
    book.attach(worker(1, 1), refusals(b=1))
    assert book.figures().counters[EVENT_REFUSALS] == {("ns", "a"): 1, ("ns", "b"): 1}
    book.retire(1, 1, None)
    book.attach(worker(1, 2), refusals(c=1, a=1))
    expected = {("ns", "a"): 2, ("ns", "b"): 1, (OVERFLOW, OVERFLOW): 1}
    assert book.figures().counters[EVENT_REFUSALS] == expected
    book.retire(0, 1, None)
    book.retire(1, 2, None)
    assert book.figures().counters[EVENT_REFUSALS] == expected


def test_what_stands_in_overflow_series_is_counted_by_metric_also_of_the_dead():
    book = StatsBook(label_sets_per_metric=1)
    value = HistogramValue().observe(1.0).observe(2.0)
    blurred = Figures(
        counters={EVENT_REFUSALS: {("ns", "a"): 5, (OVERFLOW, OVERFLOW): 2}},
        histograms={STEP_EXECUTION_DURATION: {("ns", "success"): value, ("other", "success"): value}},
    )
    book.attach(worker(0, 1), Block(Snapshot(figures=blurred)))
    book.figures()
    for label in ("b", "c"):
        book.count(EVENT_REFUSALS, ("ns", label), 10)
    expected = {
        ("tasker_domain_events_refusals_total",): 22,
        ("tasker_step_execution_duration_milliseconds",): 2,
    }
    for _ in range(2):
        assert book.figures().counters[OVERFLOWS] == expected
    book.retire(0, 1, None)
    assert book.figures().counters[OVERFLOWS] == expected


def test_announced_label_sets_take_no_place_of_others():
    book = StatsBook(label_sets_per_metric=1)
    announced = [("ns", f"known_{number}") for number in range(5)]
    for labels in (*announced, ("ns", "\ud800")):
        book.declare(EVENT_REFUSALS, labels)
    book.declare(STEP_EXECUTION_DURATION, ("ns", "success"))
    for labels in (announced[0], ("ns", "\ud800"), ("ns", "a"), ("ns", "b")):
        book.count(EVENT_REFUSALS, labels)
    shown = book.figures()
    assert shown.histograms == {STEP_EXECUTION_DURATION: {("ns", "success"): HistogramValue()}}
    assert shown.counters[EVENT_REFUSALS] == {
        **dict.fromkeys(announced, 0),
        announced[0]: 1,
        ("ns", "?"): 1,
        ("ns", "a"): 1,
        (OVERFLOW, OVERFLOW): 1,
    }


def test_a_series_began_at_the_last_look_at_which_it_was_not_there_and_keeps_that():
    now = iter([100.0, 110.0, 120.0, 130.0, 140.0])
    book = StatsBook(clock=lambda: next(now))
    book.declare(TASK_REQUESTS, ("flights", "delay_report"))
    assert book.figures().began == {TASK_REQUESTS: {("flights", "delay_report"): 100.0}}

    book.attach(worker(0, 1), Block(durable(1)))
    assert book.figures().began[EVENTS_PUBLISHED] == {DURABLE: 110.0}
    book.retire(0, 1, None)
    book.attach(worker(0, 2), Block(durable(1)))
    shown = book.figures()
    assert shown.began[EVENTS_PUBLISHED] == {DURABLE: 110.0}
    assert shown.began[ROUTER_DURABLE_ROUTED] == {("0",): 110.0}
    assert shown.began[TASK_REQUESTS] == {("flights", "delay_report"): 100.0}
    assert shown.time == 130.0
    assert {metric: set(series) for metric, series in shown.began.items()} == {
        metric: set(series) for metric, series in shown.counters.items()
    }


def test_exemplars_stand_at_the_series_that_shows_them_and_outlive_their_worker():
    book, block = StatsBook(label_sets_per_metric=1), Block(durable(1))
    block.cells = {
        7: (EVENTS_PUBLISHED, DURABLE, 0),
        20: (STEP_EXECUTION_DURATION, ("flights", "success"), 3),
        21: (STEP_EXECUTION_DURATION, ("other", "success"), 3),
        30: (SPANS_DROPPED, (), 0),
    }
    book.attach(worker(2, 1), block)
    first, second = Exemplar("a" * 32, "b" * 16, 1.0, 5.0), Exemplar("c" * 32, "d" * 16, 2.0, 6.0)
    book.exemplify(2, 1, {7: first, 20: first, 21: second, 30: first, 99: first})
    book.exemplify(2, 1, {7: second})
    book.exemplify(3, 1, {7: first})
    book.retire(2, 1, None)
    book.exemplify(2, 1, {7: first})
    shown = book.figures().exemplars
    assert shown == {
        EVENTS_PUBLISHED: {DURABLE: {0: second}},
        STEP_EXECUTION_DURATION: {("flights", "success"): {3: first}, (OVERFLOW, "success"): {3: second}},
        SPANS_DROPPED: {("2",): {0: first}},
    }
    shown[EVENTS_PUBLISHED][DURABLE].clear()
    assert book.figures().exemplars[EVENTS_PUBLISHED] == {DURABLE: {0: second}}


def test_an_incarnation_is_attached_once_and_retired_once():
    book = StatsBook()
    book.attach(worker(0, 1), Block())
    with pytest.raises(ValueError, match="incarnation 1 of slot 0 is counted already"):
        book.attach(worker(0, 1), Block())
    book.retire(0, 1, None)
    for act in (lambda: book.retire(0, 1, None), lambda: book.mark_dead(0, 1)):
        with pytest.raises(KeyError, match="no incarnation 1 of slot 0"):
            act()


def test_an_incarnation_whose_settlement_fails_stays_and_can_be_retired_again():
    book, block = StatsBook(), Block(durable(2))
    book.attach(worker(0, 1), block)

    def unreadable():
        yield CommittedCount(*DURABLE, 3, 0)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        book.retire(0, 1, unreadable())
    assert not block.removed
    book.retire(0, 1, [CommittedCount(*DURABLE, 3, 0)])
    assert book.figures().counters[ROUTER_ROUTED] == {("0",): 3}


def test_the_document_of_metrics_events():
    book = StatsBook()
    bus = InProcessEventBusStats(32, 20, 12, 0, 0, 0, 2, 3, 1)
    book.attach(worker(1, 4), Block(Snapshot(RouterTally(10, 30, 0, 2, 0, 0), bus)))
    book.attach(worker(0, 1), Block(Snapshot(RouterTally(fast_refused=1), InProcessEventBusStats(1))))
    book.retire(0, 1, None)
    now = datetime(2025, 12, 1, 12, 30, 0, 999999, tzinfo=timezone(timedelta(hours=2)))
    document = event_stats_document(book, "worker-01234567", now)
    router = EventRouterStats(42, 10, 30, 2, 0, 0).to_dict()
    refused = EventRouterStats(1, 0, 0, 0, 1, 1).to_dict()
    assert document == {
        "router": EventRouterStats(43, 10, 30, 2, 1, 1).to_dict(),
        "in_process_bus": InProcessEventBusStats(33, 20, 12, 0, 0, 0, 2, 3, 1).to_dict(),
        "captured_at": "2025-12-01T10:30:00Z",
        "worker_id": "worker-01234567",
        "workers": [
            {
                "slot": 0,
                "worker_id": "worker-0.1",
                "incarnation": 1,
                "alive": False,
                "router": refused,
                "in_process_bus": InProcessEventBusStats(1).to_dict(),
            },
            {
                "slot": 1,
                "worker_id": "worker-1.4",
                "incarnation": 4,
                "alive": True,
                "router": router,
                "in_process_bus": bus.to_dict(),
            },
        ],
    }
    assert list(document) == ["router", "in_process_bus", "captured_at", "worker_id", "workers"]
    assert list(document["workers"][0]) == ["slot", "worker_id", "incarnation", "alive", "router", "in_process_bus"]


def test_the_document_of_an_empty_book_is_all_zeros():
    document = event_stats_document(StatsBook(), "s", datetime(2025, 1, 1, tzinfo=UTC))
    assert set(document["router"].values()) == set(document["in_process_bus"].values()) == {0}
    assert document["workers"] == []
