"""The foreign channel: bounded, oldest first out, and no native subscriber stands in another one's way (SPEC 2, 3)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from support.leases import event, finish, leased
from support.waiting import until

from tasker_actors.delivery.ffi_channel import FfiChannel
from tasker_actors.delivery.patterns import PatternError
from tasker_actors.native.bridge import NativeSubscriber
from tasker_actors.telemetry.span_ids import publish_fast_id
from tasker_actors.telemetry.trace_context import CURRENT, new_trace

MIB = 1024 * 1024
TRACE = new_trace()


class Count:
    """A counter."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        """Count."""
        self.value += amount


class Taker:
    """Stands where a function of a library would: keeps names of events, and can be held in a call."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.taken: list[str] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, message: bytes) -> int:
        """Take an event."""
        self.entered.release()
        assert self.gate.wait(60)
        self.taken.append(orjson.loads(message)["event_name"])
        return self.code


class Line:
    """A channel with its counters."""

    def __init__(
        self, *takers: tuple[Callable[[bytes], int], str], buffer_size: int = 100, buffer_bytes: int = MIB
    ) -> None:
        self.errors, self.drops = Count(), Counter[str]()
        self.channel = FfiChannel(
            [NativeSubscriber(f"lib.so#{n}", (pattern,), taker) for n, (taker, pattern) in enumerate(takers)],
            buffer_size=buffer_size,
            buffer_bytes=buffer_bytes,
            timeout_ms=60_000,
            errors=self.errors,
            drops=lambda count, reason: self.drops.update({reason: count}),
            logger=self,
        )
        self.said: list[tuple[str, str | None, Any]] = []
        self.channel.start()

    def warning(self, event: str, *, subscriber: str, error: str | None = None) -> None:
        """Take a log line down, with the trace in which it was written."""
        current = CURRENT.get()
        self.said.append((f"{event}: {subscriber}", error, current and (current.trace, current.correlation_id)))

    def offer(self, *names: str) -> list[bool]:
        """Offer events with these names."""
        events = [finish(leased(publishes_events=[event(name, "fast")])).derived.events[0] for name in names]
        return [self.channel.offer(one, TRACE) for one in events]

    def late(self) -> None:
        """Let the clock be past the limit of what runs now."""
        self.channel.check(time.monotonic() + 500.0)

    def end(self) -> None:
        """Deliver what is left."""
        self.channel.stop()
        self.channel.join(time.monotonic() + 20)


@pytest.fixture
def line() -> Iterator[Callable[..., Line]]:
    made: list[tuple[Line, tuple[Any, ...]]] = []

    def make(*takers: tuple[Any, str], **keys: Any) -> Line:
        one = Line(*takers, **keys)
        made.append((one, takers))
        return one

    yield make
    for one, takers in made:
        for taker, _ in takers:
            if isinstance(taker, Taker):
                taker.gate.set()
        one.end()


def test_events_reach_those_that_want_them_in_order(line):
    every, payments = Taker(), Taker()
    one = line((every, "*"), (payments, "payment.#"))

    assert one.offer("payment.done", "order.done", "payment.card.done") == [True, True, True]
    one.end()

    assert every.taken == ["payment.done", "order.done", "payment.card.done"]
    assert payments.taken == ["payment.done", "payment.card.done"]
    assert (one.errors.value, one.drops.total()) == (0, 0)


def test_an_event_that_no_native_subscriber_wants_is_not_taken(line):
    one = line((Taker(), "payment.*"))
    assert one.offer("order.done", "payment.done") == [False, True]


def test_without_subscribers_there_is_no_thread(line):
    before = threading.active_count()
    one = line()
    assert threading.active_count() == before
    assert one.offer("order.done") == [False]


def test_the_buffer_is_full_by_the_bytes_of_its_events_too(line):
    taker = Taker()
    one = line((taker, "*"), buffer_bytes=1_024)
    taker.gate.clear()
    one.offer("a.held")
    assert taker.entered.acquire(timeout=20)

    one.offer("a.1", "a.2", "a.3", "a.4", "a.5")
    taker.gate.set()
    one.end()

    assert taker.taken[-1] == "a.5"
    assert one.drops == {"too_large": 6 - len(taker.taken)}
    assert 2 <= len(taker.taken) < 5


def test_when_the_buffer_is_full_the_oldest_events_are_dropped_and_counted(line):
    taker = Taker()
    one = line((taker, "*"), buffer_size=3)
    taker.gate.clear()
    one.offer("a.held")
    assert taker.entered.acquire(timeout=20)

    one.offer("a.1", "a.2", "a.3", "a.4", "a.5")
    taker.gate.set()
    one.end()

    assert taker.taken == ["a.held", "a.3", "a.4", "a.5"]
    assert one.drops.total() == 2


def test_a_subscriber_that_reports_an_error_is_counted_and_gets_the_next_event(line):
    failing, well = Taker(code=7), Taker()
    one = line((failing, "*"), (well, "*"))

    one.offer("a.1", "a.2")
    one.end()

    assert failing.taken == well.taken == ["a.1", "a.2"]
    assert one.errors.value == 2
    assert [line[:2] for line in one.said] == [("A native subscriber failed: lib.so#0", "returned 7")] * 2


def test_a_log_line_about_a_delivery_has_the_ids_of_its_event(line):
    events: list[dict[str, Any]] = []

    def failing(message: bytes) -> int:
        events.append(orjson.loads(message))
        return 1

    one = line((failing, "*"))
    one.offer("a.1")
    one.end()

    ((_, _, (trace, correlation_id)),) = one.said
    assert correlation_id == events[0]["metadata"]["correlation_id"]
    assert (trace.trace_id, trace.span_id) == (TRACE.trace_id, publish_fast_id(events[0]["event_id"]))


def test_it_tells_how_many_want_an_event(line):
    one = line((Taker(), "*"), (Taker(), "payment.#"))
    assert [one.channel.wanted_by(name) for name in ("payment.done", "order.done")] == [2, 1]


def test_a_call_that_cannot_be_made_is_counted_and_the_channel_goes_on(line):
    def broken(_message: bytes) -> int:
        raise MemoryError

    well = Taker()
    one = line((broken, "*"), (well, "*"))

    one.offer("a.1")
    one.end()

    assert well.taken == ["a.1"]
    assert one.errors.value == 1


def test_a_subscriber_that_hangs_holds_up_no_other_one(line):
    """The event that it hangs in goes on to the others; what it misses meanwhile counts as failed for it alone."""
    hanging, well = Taker(), Taker()
    one = line((hanging, "*"), (well, "*"))
    hanging.gate.clear()
    one.offer("a.1")
    assert hanging.entered.acquire(timeout=20)

    one.late()
    one.offer("a.2", "a.3")

    until(lambda: well.taken == ["a.1", "a.2", "a.3"])
    until(lambda: one.errors.value == 3)
    one.late()
    assert (one.errors.value, one.drops.total()) == (3, 0)


def test_a_subscriber_that_comes_back_gets_events_again(line):
    hanging = Taker()
    one = line((hanging, "*"))
    hanging.gate.clear()
    one.offer("a.1")
    assert hanging.entered.acquire(timeout=20)
    one.late()
    one.offer("a.2")
    until(lambda: one.errors.value == 2)

    hanging.gate.set()
    until(lambda: hanging.taken == ["a.1"])
    until(lambda: not one.channel._stuck)
    one.offer("a.3")
    one.end()

    assert hanging.taken == ["a.1", "a.3"]
    assert one.errors.value == 2
    (failed, _, its_ids), (returned, _, ids) = one.said
    assert (failed, returned) == (
        "A native subscriber failed: lib.so#0",
        "A native subscriber has returned after its time limit: lib.so#0",
    )
    assert ids == its_ids
    assert ids[0].trace_id == TRACE.trace_id


def test_a_call_within_its_limit_is_left_alone(line):
    slow = Taker()
    one = line((slow, "*"))
    slow.gate.clear()
    one.offer("a.1")
    assert slow.entered.acquire(timeout=20)

    one.channel.check(time.monotonic())
    slow.gate.set()
    one.end()

    assert (slow.taken, one.errors.value) == (["a.1"], 0)


def test_the_end_waits_no_longer_than_it_may_for_a_call_that_hangs(line):
    hanging = Taker()
    one = line((hanging, "*"))
    hanging.gate.clear()
    one.offer("a.1")
    assert hanging.entered.acquire(timeout=20)

    one.channel.stop()
    one.channel.join(time.monotonic() + 0.2)

    assert hanging.taken == []


def test_a_pattern_that_cannot_be_read_is_an_error(line):
    with pytest.raises(PatternError):
        Line((Taker(), "a..b"))
