"""InProcessEventBus: every matching subscriber gets a committed event once, in commit order (SPEC 2, 2.3, 3)."""

from __future__ import annotations

import time
from typing import Any

from support.leases import event, finish, leased
from support.waiting import until

from tasker_actors.actors import ActorSystem, LocalAddress
from tasker_actors.delivery.bus import InProcessEventBus
from tasker_actors.delivery.patterns import PatternIndex
from tasker_actors.events.outgoing import FastEvent
from tasker_actors.messages import RouteFast
from tasker_actors.steps.outflow import Outflow
from tasker_actors.telemetry.trace_context import TraceContext, new_trace


class Buffer:
    """A subscription that only keeps what it was offered."""

    def __init__(self) -> None:
        self.offered: list[str] = []

    def offer(self, taken: Any, size: int, trace: TraceContext) -> None:
        """Keep an event's name."""
        assert size > 100
        self.offered.append(taken.event_name)


class Channel:
    """A foreign channel that wants the events of one name."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.subscriber_count = int(bool(wanted))
        self.offered: list[str] = []

    def offer(self, taken: Any, trace: TraceContext) -> bool:
        """Keep an event's name if it is the one."""
        if taken.event_name == self.wanted:
            self.offered.append(taken.event_name)
        return bool(taken.event_name == self.wanted)


class Counted:
    """What the bus counted."""

    def __init__(self) -> None:
        self.counts: list[tuple[int, int, int]] = []

    def dispatched(self, events: int, matched: int, foreign: int) -> None:
        """Take note."""
        self.counts.append((events, matched, foreign))


def start(
    system: ActorSystem, *patterns: tuple[str, ...], wanted: str = "", outflow: Outflow | None = None
) -> tuple[LocalAddress, list[Buffer], Counted]:
    buffers, counted = [Buffer() for _ in patterns], Counted()
    index = PatternIndex([(key, pattern) for key, several in enumerate(patterns) for pattern in several])
    subscriptions: Any = buffers
    channel: Any = Channel(wanted)
    bus = system.start(
        "event_bus",
        lambda: InProcessEventBus(
            subscriptions=subscriptions,
            index=index,
            channel=channel,
            outflow=outflow or Outflow(),
            recorder=counted,
        ),
    )
    return bus, buffers, counted


def events(*names: str):
    derived = finish(leased(publishes_events=[event(name, "fast") for name in names])).derived
    return tuple(FastEvent(each, 0.0, new_trace()) for each in derived.events)


def test_events_reach_the_subscribers_whose_patterns_match(system: ActorSystem):
    bus, (every, payments, nothing), counted = start(system, ("*",), ("payment.*", "payment.#"), ("other.*",))

    bus.tell(RouteFast(events("payment.done", "order.done")))
    bus.tell(RouteFast(events("payment.card.refused")))
    system.stop("event_bus", time.monotonic() + 5)

    assert every.offered == ["payment.done", "order.done", "payment.card.refused"]
    assert payments.offered == ["payment.done", "payment.card.refused"]
    assert nothing.offered == []
    assert counted.counts == [(2, 2, 0), (1, 1, 0)]


def test_an_event_that_nobody_wants_is_taken_and_matched_by_nobody(system: ActorSystem):
    bus, _, counted = start(system, ("payment.*",))

    bus.tell(RouteFast(events("order.done", "payment.done")))
    system.stop("event_bus", time.monotonic() + 5)

    assert counted.counts == [(2, 1, 0)]


def test_a_bus_without_subscribers_takes_events(system: ActorSystem):
    bus, _, counted = start(system)

    bus.tell(RouteFast(events("order.done")))
    system.stop("event_bus", time.monotonic() + 5)

    assert counted.counts == [(1, 0, 0)]


def test_the_foreign_channel_takes_what_it_wants_beside_the_subscribers(system: ActorSystem):
    bus, (payments,), counted = start(system, ("payment.*",), wanted="order.done")

    bus.tell(RouteFast(events("order.done", "payment.done", "order.done", "nobody.cares")))
    system.stop("event_bus", time.monotonic() + 5)

    assert payments.offered == ["payment.done"]
    assert counted.counts == [(4, 1, 2)]


def test_what_is_in_the_buffers_is_on_its_way_no_longer_whatever_became_of_it(system: ActorSystem):
    outflow = Outflow()
    bus, (buffer,), _ = start(system, ("*",), outflow=outflow)
    outflow.to_bus(100)
    outflow.to_bus(10)
    no_events: Any = (None,)

    bus.tell(RouteFast(no_events))
    bus.tell(RouteFast(events("a.b")))

    until(lambda: outflow.bytes == 0)
    assert len(buffer.offered) == 1
