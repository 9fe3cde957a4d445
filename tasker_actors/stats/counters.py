"""Plain counters of routing and of the bus as values, and what a killed worker really committed (SPEC 3).

Pure. `RouterTally` counts what happened, one field for each row of SPEC's table; `EventRouterStats` is derived from it,
so that `total = durable + fast + broadcast + routing_errors` holds in every snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from tasker_actors.stats.figures import Figures, Labels, clean_labels, overflow_labels
from tasker_actors.telemetry.metrics import EVENTS_FAILED, EVENTS_PUBLISHED, Metric

_COMMITTED_MODES = frozenset({"durable", "broadcast"})


@dataclass(frozen=True, slots=True)
class EventRouterStats:
    """What clients see of routing; SPEC 3 says when each field rises."""

    total_routed: int = 0
    durable_routed: int = 0
    fast_routed: int = 0
    broadcast_routed: int = 0
    fast_delivery_errors: int = 0
    routing_errors: int = 0

    def __add__(self, other: EventRouterStats) -> EventRouterStats:
        return EventRouterStats(*_sums(self.to_dict(), other.to_dict()))

    def to_dict(self) -> dict[str, int]:
        """Fields in SPEC's order."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class InProcessEventBusStats:
    """What clients see of the bus; the last three fields are gauges, all others counters."""

    total_events_dispatched: int = 0
    rust_handler_dispatches: int = 0
    ffi_channel_dispatches: int = 0
    rust_handler_errors: int = 0
    subscriber_drops: int = 0
    ffi_channel_drops: int = 0
    rust_subscriber_patterns: int = 0
    rust_handler_count: int = 0
    ffi_subscriber_count: int = 0

    def __add__(self, other: InProcessEventBusStats) -> InProcessEventBusStats:
        return InProcessEventBusStats(*_sums(self.to_dict(), other.to_dict()))

    def to_dict(self) -> dict[str, int]:
        """Fields in SPEC's order."""
        return asdict(self)

    def without_gauges(self) -> InProcessEventBusStats:
        """Its counters alone: what stays of a bus that is gone."""
        return replace(self, rust_subscriber_patterns=0, rust_handler_count=0, ffi_subscriber_count=0)


@dataclass(frozen=True, slots=True)
class RouterTally:
    """Events by what happened to them; each event is in one of `durable`, `fast`, `fast_refused`, `broadcast`,
    `unpublished`, and a broadcast one that the bus refused in `broadcast_refused` too.
    """

    durable: int = 0
    fast: int = 0
    fast_refused: int = 0
    broadcast: int = 0
    broadcast_refused: int = 0
    unpublished: int = 0

    def __add__(self, other: RouterTally) -> RouterTally:
        return RouterTally(*_sums(asdict(self), asdict(other)))

    def stats(self) -> EventRouterStats:
        """The table of SPEC 3."""
        return EventRouterStats(
            total_routed=self.durable + self.fast + self.fast_refused + self.broadcast + self.unpublished,
            durable_routed=self.durable,
            fast_routed=self.fast,
            broadcast_routed=self.broadcast,
            fast_delivery_errors=self.fast_refused + self.broadcast_refused,
            routing_errors=self.fast_refused + self.unpublished,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures of one incarnation at one moment, cumulative since its start."""

    router: RouterTally = field(default_factory=RouterTally)
    bus: InProcessEventBusStats = field(default_factory=InProcessEventBusStats)
    figures: Figures = field(default_factory=Figures)

    def without_gauges(self) -> Snapshot:
        """What stays when the incarnation is dead: counters and histograms."""
        return replace(self, bus=self.bus.without_gauges(), figures=replace(self.figures, gauges={}))


class CommittedCount(NamedTuple):
    """What one incarnation committed of one label set, by the database: events published, and dead letters."""

    namespace: str
    event_name: str
    delivery_mode: str
    publisher: str
    published: int
    failed: int


def settle(snapshot: Snapshot, committed: Iterable[CommittedCount]) -> Snapshot:
    """The last figures of a killed incarnation, raised to what it committed: no figure falls.

    A worker counts after its commit, so the database knows at least as much as the block. It decides over published
    durable and broadcast events and over dead letters of every mode; what the bus took or refused only the block
    knows. Rows of one label set add up.
    """
    published: dict[Labels, int] = {}
    failed: dict[Labels, int] = {}
    counters = snapshot.figures.counters
    for row in committed:
        labels = clean_labels((row.namespace, row.event_name, row.delivery_mode, row.publisher))
        in_database = row.published if row.delivery_mode in _COMMITTED_MODES else 0
        for metric, sums, count in ((EVENTS_PUBLISHED, published, in_database), (EVENTS_FAILED, failed, row.failed)):
            place = _place(counters.get(metric, {}), metric, labels)
            sums[place] = sums.get(place, 0) + count
    figures = replace(
        snapshot.figures,
        counters=counters
        | {
            EVENTS_PUBLISHED: _raised(counters.get(EVENTS_PUBLISHED, {}), published),
            EVENTS_FAILED: _raised(counters.get(EVENTS_FAILED, {}), failed),
        },
    )
    router = replace(
        snapshot.router,
        durable=max(snapshot.router.durable, _published(figures, "durable")),
        broadcast=max(snapshot.router.broadcast, _published(figures, "broadcast")),
        unpublished=max(snapshot.router.unpublished, figures.total(EVENTS_FAILED)),
    )
    return replace(snapshot, router=router, figures=figures)


def _place(series: Mapping[Labels, int], metric: Metric, labels: Labels) -> Labels:
    """Series that a label set is counted in: its own, or the overflow series if the worker had already begun that."""
    overflow = overflow_labels(metric.labels, labels)
    return labels if labels in series or overflow not in series else overflow


def _raised(series: Mapping[Labels, int], floor: Mapping[Labels, int]) -> dict[Labels, int]:
    raised = dict(series)
    for labels, count in floor.items():
        raised[labels] = max(raised.get(labels, 0), count)
    return raised


def _published(figures: Figures, delivery_mode: str) -> int:
    mode = EVENTS_PUBLISHED.labels.index("delivery_mode")
    return sum(count for labels, count in figures.counters[EVENTS_PUBLISHED].items() if labels[mode] == delivery_mode)


def _sums(mine: Mapping[str, int], its: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(value + its[name] for name, value in mine.items())
