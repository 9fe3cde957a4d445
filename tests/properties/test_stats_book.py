"""Counters through any sequence of commits, deliveries, kills, settlements and looks (SPEC 3, G5).

The model is the truth: what the database committed and what the bus took. Blocks are real files; a kill loses what was
committed and not yet counted.
"""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tasker_actors.stats import layout
from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.book import StatsBook, WorkerIdentity
from tasker_actors.stats.counters import CommittedCount, EventRouterStats
from tasker_actors.stats.reader import BlockReader
from tasker_actors.telemetry.metrics import (
    EVENTS_FAILED,
    EVENTS_PUBLISHED,
    EVENTS_REFUSED_BY_BUS,
    STEP_EXECUTION_DURATION,
)

SIZE = (layout.TOKENS + 2000 + layout.RESERVE_CELLS) * layout.CELL_BYTES
MODES = ("durable", "fast", "broadcast")
LABEL_SETS = [("ns", f"event.e{number}", mode, "default") for mode in MODES for number in range(3)]
COMMIT_CELLS = {"durable": layout.DURABLE, "broadcast": layout.BROADCAST}


@dataclass
class Incarnation:
    number: int
    writer: BlockWriter
    published: Counter = field(default_factory=Counter)
    failed: Counter = field(default_factory=Counter)
    uncounted: list = field(default_factory=list)

    def count(self, commits, *, lane_only=False):
        for metric, labels, amount in self.uncounted[:commits]:
            cell = layout.UNPUBLISHED if metric is EVENTS_FAILED else COMMIT_CELLS[labels[2]]
            self.writer.router[cell] += amount
            if not lane_only:
                self.writer.counter(metric, labels).add(amount)
        del self.uncounted[:commits]

    def committed(self):
        label_sets = self.published.keys() | self.failed.keys()
        return [CommittedCount(*labels, self.published[labels], self.failed[labels]) for labels in label_sets]


class Supervised(RuleBasedStateMachine):
    label_sets = 2000

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.book = StatsBook(label_sets_per_metric=self.label_sets)
        self.live = {}
        self.dead = []
        self.incarnations = 0
        self.committed = Counter()
        self.handed_over = 0
        self.refused = 0
        self.seen = {}
        for slot in (0, 1):
            self.start(slot)

    def teardown(self):
        self.directory.cleanup()

    def start(self, slot):
        self.incarnations += 1
        path = create_block(
            Path(self.directory.name), slot=slot, incarnation=self.incarnations, executors=1, size_bytes=SIZE
        )
        self.live[slot] = Incarnation(self.incarnations, BlockWriter(path, label_sets_per_metric=self.label_sets))
        self.book.attach(WorkerIdentity(slot, self.incarnations, str(self.incarnations)), BlockReader(path))

    slots = st.sampled_from([0, 1])
    amounts = st.integers(1, 5)

    @rule(slot=slots, labels=st.sampled_from([labels for labels in LABEL_SETS if labels[2] != "fast"]), amount=amounts)
    def commit(self, slot, labels, amount):
        self.live[slot].published[labels] += amount
        self.committed[labels] += amount
        self.live[slot].uncounted.append((EVENTS_PUBLISHED, labels, amount))

    @rule(slot=slots, labels=st.sampled_from(LABEL_SETS), amount=amounts)
    def dead_letter(self, slot, labels, amount):
        self.live[slot].failed[labels] += amount
        self.live[slot].uncounted.append((EVENTS_FAILED, labels, amount))

    @rule(slot=slots, commits=st.integers(1, 4), lane_only=st.booleans())
    def count(self, slot, commits, lane_only):
        """The router counts some commits, and may be killed between the lane's cell and the labelled one."""
        self.live[slot].count(commits, lane_only=lane_only)
        if lane_only:
            self.kill(slot)

    @rule(slot=slots, labels=st.sampled_from([labels for labels in LABEL_SETS if labels[2] == "fast"]), amount=amounts)
    def hand_over(self, slot, labels, amount):
        writer = self.live[slot].writer
        writer.router[layout.FAST] += amount
        writer.counter(EVENTS_PUBLISHED, labels).add(amount)
        writer.histogram(STEP_EXECUTION_DURATION, ("ns", "success")).observe(float(amount))
        self.handed_over += amount

    @rule(slot=slots, labels=st.sampled_from([labels for labels in LABEL_SETS if labels[2] == "fast"]), amount=amounts)
    def refuse(self, slot, labels, amount):
        writer = self.live[slot].writer
        writer.router[layout.FAST_REFUSED] += amount
        writer.counter(EVENTS_REFUSED_BY_BUS, labels).add(amount)
        self.refused += amount

    @rule(slot=slots)
    def kill(self, slot):
        worker = self.live[slot]
        self.book.mark_dead(slot, worker.number)
        self.dead.append((slot, worker))
        self.start(slot)

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def settle(self, data):
        slot, worker = self.dead.pop(data.draw(st.integers(0, len(self.dead) - 1)))
        self.book.retire(slot, worker.number, worker.committed())

    @invariant()
    def no_figure_falls_or_vanishes(self):
        shown = self.book.figures()
        now = {(metric, labels): n for metric, series in shown.counters.items() for labels, n in series.items()}
        for metric, series in shown.histograms.items():
            now |= {(metric, labels, "count"): value.count for labels, value in series.items()}
        assert all(now[key] >= value for key, value in self.seen.items())
        self.seen = now

    @invariant()
    def the_parts_make_the_total(self):
        stats = sum((slot.router for slot in self.book.slots()), EventRouterStats())
        parts = stats.durable_routed + stats.fast_routed + stats.broadcast_routed + stats.routing_errors
        assert stats.total_routed == parts

    @rule()
    def when_all_is_counted_or_settled_the_figures_are_the_truth(self):
        for worker in self.live.values():
            worker.count(len(worker.uncounted))
        while self.dead:
            slot, worker = self.dead.pop()
            self.book.retire(slot, worker.number, worker.committed())
        self.check_truth()

    def check_truth(self):
        stats = sum((slot.router for slot in self.book.slots()), EventRouterStats())
        figures = self.book.figures()
        assert stats.durable_routed + stats.broadcast_routed == self.committed.total()
        assert stats.fast_routed == self.handed_over
        assert figures.total(EVENTS_PUBLISHED) == self.committed.total() + self.handed_over
        assert figures.total(EVENTS_FAILED) == stats.routing_errors
        published = figures.counters.get(EVENTS_PUBLISHED, {})
        for mode, of_mode in (("durable", stats.durable_routed), ("broadcast", stats.broadcast_routed)):
            assert sum(n for labels, n in published.items() if labels[2] == mode) == of_mode
        self.check_label_sets(published)

    def check_label_sets(self, published):
        for labels, committed in self.committed.items():
            assert published[labels] == committed


class SupervisedWithFewSeries(Supervised):
    """The same where most label sets land in overflow series: sums by delivery mode stay exact."""

    label_sets = 2

    def check_label_sets(self, published):
        assert len(published) <= self.label_sets + len(MODES)


TestSupervised = Supervised.TestCase
TestSupervisedWithFewSeries = SupervisedWithFewSeries.TestCase
TestSupervised.settings = TestSupervisedWithFewSeries.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
