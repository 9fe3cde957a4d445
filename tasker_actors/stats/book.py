"""Keeps the figures of every slot and incarnation, and of the supervisor itself, and adds them up (DESIGN 4).

Sums are monotone: a dead incarnation's counters stay, its gauges are gone at once. One thread uses a book; reading a
block is a memory access, so nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from time import time
from typing import Final, Protocol

from tasker_actors.stats.counters import (
    CommittedCount,
    EventRouterStats,
    InProcessEventBusStats,
    RouterTally,
    Snapshot,
    settle,
)
from tasker_actors.stats.figures import Exemplar, Figures, HistogramValue, Labels, clean_labels
from tasker_actors.stats.series import SeriesRegister, count_overflows
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.metrics import LABEL_SETS_PER_METRIC, Metric, MetricKind

_ROUTER_FIELDS: Final[Mapping[Metric, str]] = {
    metrics.ROUTER_DURABLE_ROUTED: "durable_routed",
    metrics.ROUTER_FAST_ROUTED: "fast_routed",
    metrics.ROUTER_BROADCAST_ROUTED: "broadcast_routed",
    metrics.ROUTER_ROUTED: "total_routed",
    metrics.ROUTER_FAST_DELIVERY_ERRORS: "fast_delivery_errors",
    metrics.ROUTER_ROUTING_ERRORS: "routing_errors",
}
_BUS_FIELDS: Final[Mapping[Metric, str]] = {
    metrics.BUS_EVENTS_DISPATCHED: "total_events_dispatched",
    metrics.BUS_HANDLER_DISPATCHES: "rust_handler_dispatches",
    metrics.BUS_HANDLER_ERRORS: "rust_handler_errors",
    metrics.BUS_SUBSCRIBER_DROPS: "subscriber_drops",
    metrics.BUS_FFI_DISPATCHES: "ffi_channel_dispatches",
    metrics.BUS_FFI_DROPS: "ffi_channel_drops",
}


class SnapshotSource(Protocol):
    """Where an incarnation's figures come from: a `BlockReader`."""

    def snapshot(self) -> Snapshot:
        """All figures now."""
        ...

    def locate(self, cell: int) -> tuple[Metric, Labels, int] | None:
        """The series that a cell counts for, and which of its buckets."""
        ...

    def remove(self) -> None:
        """Give the source up; it is not read again."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """One incarnation of a slot. A slot can have two for a while: the new one starts before the old one ends."""

    slot: int
    incarnation: int
    worker_id: str


@dataclass(frozen=True, slots=True)
class SlotStats:
    """What a slot's incarnations did together; `worker_id`, `incarnation`, `alive` and gauges are of the newest one."""

    worker: WorkerIdentity
    alive: bool
    router: EventRouterStats
    bus: InProcessEventBusStats


@dataclass(slots=True)
class _Incarnation:
    worker: WorkerIdentity
    source: SnapshotSource
    alive: bool = True


@dataclass(slots=True)
class _RetiredSlot:
    newest: WorkerIdentity
    router: RouterTally = field(default_factory=RouterTally)
    bus: InProcessEventBusStats = field(default_factory=InProcessEventBusStats)


_Read = list[tuple[_Incarnation, Snapshot]]


class StatsBook:
    """All figures of one supervisor."""

    def __init__(
        self, *, label_sets_per_metric: int = LABEL_SETS_PER_METRIC, clock: Callable[[], float] = time
    ) -> None:
        self._clock = clock
        self._last_look = clock()
        self._series = SeriesRegister(label_sets_per_metric)
        self._exemplars: dict[Metric, dict[Labels, dict[int, Exemplar]]] = {}
        self._incarnations: dict[tuple[int, int], _Incarnation] = {}
        self._retired: dict[int, _RetiredSlot] = {}
        self._kept = Figures()  # of retired incarnations and of the supervisor

    def attach(self, worker: WorkerIdentity, source: SnapshotSource) -> None:
        """Read an incarnation's figures from now on; ValueError if it is there already."""
        key = (worker.slot, worker.incarnation)
        if key in self._incarnations:
            message = f"incarnation {worker.incarnation} of slot {worker.slot} is counted already"
            raise ValueError(message)
        self._incarnations[key] = _Incarnation(worker, source)

    def mark_dead(self, slot: int, incarnation: int) -> None:
        """Stop showing an incarnation's gauges; its counters are shown as before until it is retired."""
        self._incarnation(slot, incarnation).alive = False

    def retire(self, slot: int, incarnation: int, committed: Iterable[CommittedCount] | None) -> None:
        """Keep an ended incarnation's counters for good, raised to what the database says that it committed.

        Without `committed` the block is believed: right for a worker that ended by itself. Gives the source up, so
        running tokens must have been read. KeyError for an incarnation that is not there.
        """
        ended = self._incarnation(slot, incarnation)
        snapshot = ended.source.snapshot().without_gauges()
        if committed is not None:
            snapshot = settle(snapshot, committed)
        del self._incarnations[slot, incarnation]
        kept = self._retired.setdefault(slot, _RetiredSlot(ended.worker))
        kept.newest = max(kept.newest, ended.worker, key=attrgetter("incarnation"))
        kept.router += snapshot.router
        kept.bus += snapshot.bus
        self._add(self._kept, snapshot.figures, slot)
        ended.source.remove()

    def declare(self, metric: Metric, labels: Labels) -> None:
        """Let a label set of a counter or histogram that is known beforehand exist, at 0."""
        self._series.announce(metric, labels)
        if metric.kind is MetricKind.HISTOGRAM:
            self._kept.add_histogram(*self._series.place(metric, labels), HistogramValue())
        else:
            self._kept.count(*self._series.place(metric, labels), 0)

    def exemplify(self, slot: int, incarnation: int, exemplars: Mapping[int, Exemplar]) -> None:
        """Keep exemplars that an incarnation found, by the cell of its block, in place of older ones.

        Those of an incarnation that is not read any more are let go: its cells say nothing now.
        """
        found = self._incarnations.get((slot, incarnation))
        if found is None:
            return
        for cell, exemplar in exemplars.items():
            place = found.source.locate(cell)
            if place is not None:
                metric, labels, bucket = place
                metric, labels = self._series.place(metric, metric.with_worker(labels, slot))
                self._exemplars.setdefault(metric, {}).setdefault(labels, {})[bucket] = exemplar

    def count(self, metric: Metric, labels: Labels, amount: int = 1) -> None:
        """Count something in the supervisor itself; `labels` are those of the table, `worker` included."""
        if amount < 0:
            message = f"{metric.instrument} cannot fall by {-amount}"
            raise ValueError(message)
        self._kept.count(*self._series.place(metric, labels), amount)

    def observe(self, metric: Metric, labels: Labels, milliseconds: float) -> None:
        """Count one duration in the supervisor itself."""
        self._kept.add_histogram(*self._series.place(metric, labels), HistogramValue().observe(milliseconds))

    def set_gauge(self, metric: Metric, labels: Labels, value: float) -> None:
        """Show a gauge of the supervisor itself."""
        self._kept.set_gauge(metric, clean_labels(labels), value)

    def replace_gauges(self, metric: Metric, values: Mapping[Labels, float]) -> None:
        """Show these label sets of a gauge and no others: what vanished from `values` vanishes from the scrape."""
        self._kept.gauges[metric] = {clean_labels(labels): value for labels, value in values.items()}

    def slots(self) -> list[SlotStats]:
        """Every slot that ever had a worker, by number. Their sums are the sums over all incarnations."""
        return self._slots(self._read())

    def figures(self) -> Figures:
        """Every figure of the table with its labels, now; the answer is the caller's."""
        figures = Figures(
            gauges={metric: dict(series) for metric, series in self._kept.gauges.items()}, time=self._clock()
        )
        read = self._read()
        self._add(figures, self._kept)
        for incarnation, snapshot in read:
            slot = incarnation.worker.slot
            self._add(figures, snapshot.figures, slot)
            for metric, series in snapshot.figures.gauges.items():
                for labels, value in series.items():
                    figures.set_gauge(metric, metric.with_worker(labels, slot), value)
        for stats in self._slots(read):
            _add_slot(figures, stats)
        count_overflows(figures)
        self._series.date(figures, self._last_look)
        self._last_look = figures.time
        self._show_exemplars(figures)
        return figures

    def _show_exemplars(self, figures: Figures) -> None:
        for metric, series in self._exemplars.items():
            figures.exemplars[metric] = {labels: dict(by_bucket) for labels, by_bucket in series.items()}

    def _read(self) -> _Read:
        """One look at every source, oldest incarnation first; only the newest live one of a slot keeps its gauges."""
        current = sorted(self._incarnations.values(), key=lambda each: each.worker.incarnation)
        newest = {each.worker.slot: each for each in current if each.alive}
        read: _Read = []
        for each in current:
            snapshot = each.source.snapshot()
            speaks = newest.get(each.worker.slot) is each
            read.append((each, snapshot if speaks else snapshot.without_gauges()))
        return read

    def _slots(self, read: _Read) -> list[SlotStats]:
        numbers = {incarnation.worker.slot for incarnation, _ in read} | self._retired.keys()
        return [self._slot(slot, [pair for pair in read if pair[0].worker.slot == slot]) for slot in sorted(numbers)]

    def _slot(self, slot: int, read: _Read) -> SlotStats:
        retired = self._retired.get(slot)
        router = sum((snapshot.router for _, snapshot in read), retired.router if retired else RouterTally())
        bus = sum((snapshot.bus for _, snapshot in read), retired.bus if retired else InProcessEventBusStats())
        workers = [each.worker for each, _ in read] + ([retired.newest] if retired else [])
        live = [each.worker for each, _ in read if each.alive]
        newest = max(live or workers, key=attrgetter("incarnation"))
        return SlotStats(newest, bool(live), router.stats(), bus)

    def _incarnation(self, slot: int, incarnation: int) -> _Incarnation:
        try:
            return self._incarnations[slot, incarnation]
        except KeyError:
            message = f"no incarnation {incarnation} of slot {slot} is being counted"
            raise KeyError(message) from None

    def _add(self, into: Figures, figures: Figures, slot: int | None = None) -> None:
        """Add counters and histograms; with a slot, they are a worker's and get its label."""
        for metric, counts in figures.counters.items():
            for labels, count in counts.items():
                into.count(*self._series.place(metric, _with_slot(metric, labels, slot)), count)
        for metric, values in figures.histograms.items():
            for labels, value in values.items():
                into.add_histogram(*self._series.place(metric, _with_slot(metric, labels, slot)), value)


def _with_slot(metric: Metric, labels: Labels, slot: int | None) -> Labels:
    return labels if slot is None else metric.with_worker(labels, slot)


def _add_slot(figures: Figures, slot: SlotStats) -> None:
    labels = (str(slot.worker.slot),)
    for metric, name in _ROUTER_FIELDS.items():
        figures.count(metric, labels, getattr(slot.router, name))
    for metric, name in _BUS_FIELDS.items():
        figures.count(metric, labels, getattr(slot.bus, name))
    figures.count(metrics.SPANS_DROPPED, labels, 0)
    figures.count(metrics.LOG_RECORDS_DROPPED, labels, 0)
    if slot.alive:
        figures.set_gauge(metrics.WORKERS_ALIVE, labels, 1.0)
