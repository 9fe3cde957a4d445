"""One subscriber: its own buffer, thread and time limit, so that it harms nobody but itself (SPEC 2 rules 3 and 4)."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.exporting import Lines
from support.leases import event, finish, leased
from support.waiting import until

from tasker_actors.delivery.subscription import Subscription
from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.span_ids import publish_fast_id
from tasker_actors.telemetry.trace_context import new_trace

MIB = 1024 * 1024
MAX_STUCK = 3
TRACE = new_trace(sampled=True)


class Count:
    """A counter."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        """Count."""
        self.value += amount


class Desk:
    """A subscription with its counters, and gates that hold deliveries back."""

    def __init__(
        self, call: Callable[[Any], Any], *, is_async: bool = False, buffer_size: int = 100, buffer_bytes: int = MIB
    ) -> None:
        self.errors, self.drops = Count(), Counter[str]()
        self.subscription = Subscription(
            SubscriberSpec("tests.subscriber", ("*",), call, is_async),
            buffer_size=buffer_size,
            buffer_bytes=buffer_bytes,
            timeout_ms=60_000,
            max_stuck=MAX_STUCK,
            errors=self.errors,
            drops=lambda count, reason: self.drops.update({reason: count}),
            logger=get_logger("tests"),
        )

    def offer(self, *names: str) -> None:
        """Offer events with these names."""
        for name in names:
            (one,) = finish(leased(publishes_events=[event(name, "fast")])).derived.events
            self.subscription.offer(one.event, len(one.message), TRACE)

    def late(self, grace: float = 1000.0) -> None:
        """Let the clock be past the limit of what runs now."""
        self.subscription.check(time.monotonic() + 500.0, grace)


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(call: Callable[[Any], Any], **keys: Any) -> Desk:
        made.append(Desk(call, **keys))
        made[-1].subscription.start()
        return made[-1]

    yield make
    for one in made:
        one.subscription.stop()
        one.subscription.join(time.monotonic() + 5)


def forever(taken: Any) -> None:
    """Hang, where an exception can end it."""
    while True:
        threading.Event().wait(0.001)


def test_events_are_delivered_in_order_and_one_at_a_time(desk: Callable[..., Desk]):
    got: list[str] = []
    threads: set[int] = set()

    def call(taken: Any) -> None:
        threads.add(threading.get_ident())
        got.append(taken.event_name)

    one = desk(call)
    names = [f"a.n{number}" for number in range(50)]
    one.offer(*names)

    until(lambda: one.subscription.is_idle)
    assert (got, len(threads), one.errors.value, one.drops.total()) == (names, 1, 0, 0)
    assert threading.get_ident() not in threads


def test_an_async_subscriber_is_awaited_on_a_loop_of_its_own(desk: Callable[..., Desk]):
    loops = []

    async def call(taken: Any) -> None:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())

    one = desk(call, is_async=True)
    one.offer("a.one", "a.two")

    until(lambda: len(loops) == 2)
    assert loops[0] is loops[1]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_subscriber_that_raises_loses_that_delivery_only(desk: Callable[..., Desk], error: BaseException):
    got: list[str] = []

    def call(taken: Any) -> None:
        if taken.event_name == "a.bad":
            raise error
        got.append(taken.event_name)

    one = desk(call)
    one.offer("a.one", "a.bad", "a.two")

    until(lambda: one.subscription.is_idle)
    assert (got, one.errors.value) == (["a.one", "a.two"], 1)


def test_a_subscriber_that_ends_its_thread_goes_on(desk: Callable[..., Desk]):
    got: list[str] = []

    def call(taken: Any) -> None:
        got.append(taken.event_name)
        sys.exit(1)

    one = desk(call)
    one.offer("a.one", "a.two")

    until(lambda: len(got) == 2 and one.subscription.is_idle)
    assert one.errors.value == 2


def test_a_buffer_is_full_by_the_bytes_of_its_events_too(desk: Callable[..., Desk]):
    entered, leave = threading.Event(), threading.Event()
    got: list[str] = []

    def call(taken: Any) -> None:
        entered.set()
        assert leave.wait(10)
        got.append(taken.event_name)

    one = desk(call, buffer_bytes=1_024)
    one.offer("a.first")
    assert entered.wait(10)
    one.offer("a.n1", "a.n2", "a.n3", "a.n4", "a.n5")
    kept = one.subscription.waiting
    assert 1 <= kept < 4
    assert one.drops == {"too_large": 5 - kept}
    leave.set()
    until(lambda: one.subscription.is_idle)
    assert got == ["a.first", *(f"a.n{number}" for number in range(6 - kept, 6))]
    one.offer("a.last")  # what was taken out has made room
    until(lambda: got[-1] == "a.last")


def test_a_full_buffer_drops_its_oldest_entries_and_counts_each(desk: Callable[..., Desk]):
    entered, leave = threading.Event(), threading.Event()
    got: list[str] = []

    def call(taken: Any) -> None:
        entered.set()
        assert leave.wait(10)
        got.append(taken.event_name)

    one = desk(call, buffer_size=3)
    one.offer("a.first")
    assert entered.wait(10)
    one.offer("a.n1", "a.n2", "a.n3", "a.n4", "a.n5")
    assert (one.subscription.waiting, one.drops.total()) == (3, 2)
    leave.set()

    until(lambda: one.subscription.is_idle)
    assert got == ["a.first", "a.n3", "a.n4", "a.n5"]


def test_a_delivery_past_its_limit_is_interrupted_and_the_next_ones_go_on(desk: Callable[..., Desk]):
    hanging = threading.Event()
    got: list[str] = []

    def call(taken: Any) -> None:
        if taken.event_name == "a.hang":
            hanging.set()
            forever(taken)
        got.append(taken.event_name)

    one = desk(call)
    one.offer("a.hang", "a.after")
    assert hanging.wait(10)
    one.late()

    until(lambda: got == ["a.after"])
    assert one.errors.value == 1


def test_an_async_delivery_past_its_limit_is_cancelled(desk: Callable[..., Desk]):
    got: list[str] = []

    async def call(taken: Any) -> None:
        if taken.event_name == "a.hang":
            await asyncio.get_running_loop().create_future()
        got.append(taken.event_name)

    one = desk(call, is_async=True)
    one.subscription._timeout = one.subscription._runner._timeout = 0.02  # type: ignore[union-attr]  # it runs
    one.offer("a.hang", "a.after")

    until(lambda: got == ["a.after"])
    assert one.errors.value == 1


def test_an_async_delivery_that_was_cancelled_may_clean_up_before_it_is_interrupted(desk: Callable[..., Desk]):
    cancelled = threading.Event()
    ended: list[str] = []

    async def call(taken: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.sleep(0.05)
            ended.append("cleaned up")
            raise

    one = desk(call, is_async=True)
    one.subscription._timeout = one.subscription._runner._timeout = 0.02  # type: ignore[union-attr]  # it runs
    one.offer("a.one")
    assert cancelled.wait(10)
    one.subscription.check(time.monotonic(), 1000.0)

    until(lambda: one.subscription.is_idle)
    assert (ended, one.errors.value) == (["cleaned up"], 1)


def test_a_delivery_within_its_limit_is_left_alone(desk: Callable[..., Desk]):
    entered, leave = threading.Event(), threading.Event()

    def call(taken: Any) -> None:
        entered.set()
        assert leave.wait(10)

    one = desk(call)
    one.offer("a.one")
    assert entered.wait(10)
    one.subscription.check(time.monotonic(), 0.0)
    leave.set()

    until(lambda: one.subscription.is_idle)
    assert one.errors.value == 0


def test_a_delivery_that_never_returns_is_left_behind_and_a_new_thread_goes_on(desk: Callable[..., Desk], lines: Lines):
    entered, leave = threading.Event(), threading.Event()
    got: list[str] = []
    stuck: list[Any] = []

    def call(taken: Any) -> None:
        if taken.event_name == "a.stuck":
            stuck.append(taken)
            entered.set()
            leave.wait()  # a lock that no exception interrupts
        got.append(taken.event_name)

    one = desk(call)
    one.offer("a.stuck", "a.after")
    assert entered.wait(10)
    one.late(grace=0.0)

    until(lambda: got == ["a.after"])
    assert one.errors.value == 1
    (line,) = lines.lines("tests")
    assert (line["event"], line["correlation_id"]) == ("a subscriber failed", stuck[0].metadata["correlation_id"])
    assert (line["trace_id"], line["span_id"]) == (TRACE.trace_id, publish_fast_id(stuck[0].event_id))
    leave.set()
    one.offer("a.more")
    until(lambda: "a.more" in got and one.subscription.is_idle)
    assert got.count("a.more") == 1


def test_a_subscriber_that_is_stuck_again_and_again_gets_nothing_until_a_delivery_returns(desk: Callable[..., Desk]):
    entered: threading.Semaphore = threading.Semaphore(0)
    leave = [threading.Event() for _ in range(MAX_STUCK)]
    calls = iter(leave)
    got: list[str] = []

    def call(taken: Any) -> None:
        entered.release()
        gate = next(calls, None)
        if gate is not None:
            gate.wait()
        got.append(taken.event_name)

    one = desk(call, buffer_size=10)
    one.offer(*(f"a.n{number}" for number in range(MAX_STUCK + 2)))
    for _ in range(MAX_STUCK):
        assert entered.acquire(timeout=10)
        one.late(grace=0.0)

    assert (one.errors.value, one.subscription.waiting) == (MAX_STUCK, 2)
    one.offer(*(f"b.n{number}" for number in range(20)))
    one.late(grace=0.0)
    assert (one.subscription.waiting, one.drops.total()) == (10, 12)
    assert not entered.acquire(blocking=False)

    leave[0].set()

    def goes_on() -> bool:
        one.subscription.check(time.monotonic(), 0.0)
        return len(got) == 10

    until(goes_on)
    assert got == [f"b.n{number}" for number in range(10, 20)]
    for gate in leave:
        gate.set()


def test_deliveries_that_return_late_are_no_longer_counted_as_stuck(desk: Callable[..., Desk]):
    """However many there were in a worker's life: only those that are stuck at the same time make it stop."""
    entered = threading.Semaphore(0)
    held: list[tuple[threading.Thread, threading.Event]] = []

    def call(taken: Any) -> None:
        leave = threading.Event()
        held.append((threading.current_thread(), leave))
        entered.release()
        leave.wait()

    one = desk(call)
    for number in range(2 * MAX_STUCK):
        one.offer("a.slow")
        assert entered.acquire(timeout=10)
        one.late(grace=0.0)
        thread, leave = held[number]
        leave.set()
        until(lambda thread=thread: not thread.is_alive())

    one.offer("a.last")
    assert entered.acquire(timeout=10)
    held[-1][1].set()
    until(lambda: one.subscription.is_idle)
    assert one.errors.value == 2 * MAX_STUCK


def test_what_is_buffered_at_the_stop_is_still_delivered(desk: Callable[..., Desk]):
    got: list[str] = []
    one = desk(lambda taken: got.append(taken.event_name))
    one.offer("a.one", "a.two")
    one.subscription.stop()
    one.subscription.join(time.monotonic() + 10)

    assert got == ["a.one", "a.two"]
    assert one.subscription.is_idle


def test_a_subscription_that_was_not_started_keeps_its_newest_events():
    one = Desk(forever, buffer_size=2)
    one.offer("a.one", "a.two", "a.three")

    assert (one.subscription.waiting, one.drops.total(), one.subscription.is_idle) == (2, 1, False)
    one.subscription.check(time.monotonic() + 1000, 0.0)
    one.subscription.join(time.monotonic())
