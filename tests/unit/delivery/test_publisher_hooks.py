"""Hooks after a commit: each call leaves the backlog, whatever it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from support.leases import event, finish, leased
from support.waiting import until

from tasker_actors.actors import ActorSystem
from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.delivery.backlog import Backlog
from tasker_actors.delivery.publisher_hooks import HookCall, HookTimeoutError, PublisherHooks, callbacks_size
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.messages import PublisherCallbacks
from tasker_actors.steps.handler_loop import HandlerLoop
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.trace_context import current_correlation_id


class Misbehaving(BasePublisher):
    """Does in its hook what the test says."""

    publisher_name = "misbehaving"

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
        self.calls = 0

    def after_publish(self, event_name: str, payload: Any, metadata: Any) -> None:
        """Count, and raise."""
        self.calls += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    system = ActorSystem("worker-0")
    yield system
    system.stop_all((), time.monotonic() + 10)


@pytest.fixture
def loop() -> Iterator[HandlerLoop]:
    loop = HandlerLoop(get_logger("tests"))
    loop.start()
    yield loop
    loop.stop(time.monotonic() + 10)
    loop.loop.close()


def published(publisher: BasePublisher, *names: str) -> PublisherCallbacks:
    declared = [event(name, publisher=publisher.publisher_name) for name in names]
    result = finish(leased(publishers={publisher.publisher_name: publisher}, publishes_events=declared))
    return PublisherCallbacks(tuple((one, result) for one in result.derived.events))


@pytest.mark.parametrize("error", [None, ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_a_call_that_is_over_makes_room_for_another(
    system: ActorSystem, loop: HandlerLoop, error: BaseException | None
) -> None:
    publisher, backlog = Misbehaving(error), Backlog(2, 100_000)
    guard: CallGuard[HookCall] = CallGuard(HookTimeoutError)
    hooks = system.start(
        "hooks",
        lambda: PublisherHooks(guard=guard, loop=loop, backlog=backlog, timeout_ms=60_000, logger=get_logger("tests")),
    )
    message = published(publisher, "a.one", "a.two")
    for _ in range(3):
        assert backlog.add(2, callbacks_size(message)) is None
        hooks.tell(message)
        until(lambda: backlog.count == 0)
    assert publisher.calls == 6
    assert backlog.add(1, 100_000) is None  # the bytes are given back too


class Awaiting(BasePublisher):
    """Notes from an async hook what it was called for, in which loop, and by whom; one event keeps it for ever."""

    publisher_name = "awaiting"

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, Any]] = []

    async def after_publish(self, event_name: str, payload: Any, metadata: Any) -> None:
        """Wait, and note."""
        await asyncio.sleep(0)
        if event_name == "a.leaves":
            raise SystemExit(3)
        if event_name == "a.hangs":
            await asyncio.get_running_loop().create_future()
        self.told.append((event_name, asyncio.get_running_loop(), current_correlation_id()))


def test_async_hooks_run_in_order_on_the_loop_of_the_handlers_each_within_the_limit(
    system: ActorSystem, loop: HandlerLoop
) -> None:
    publisher, backlog, guard = Awaiting(), Backlog(10, 100_000), CallGuard[HookCall](HookTimeoutError)
    message = published(publisher, "a.one", "a.leaves", "a.hangs", "a.two")
    assert backlog.add(4, callbacks_size(message)) is None
    with structlog.testing.capture_logs() as lines:
        system.start(
            "hooks",
            lambda: PublisherHooks(guard=guard, loop=loop, backlog=backlog, timeout_ms=50, logger=get_logger("tests")),
        ).tell(message)
        until(lambda: backlog.count == 0)

    correlation_id = message.events[0][1].correlation_id
    assert publisher.told == [("a.one", loop.loop, correlation_id), ("a.two", loop.loop, correlation_id)]
    assert [line["error"] for line in lines] == ["SystemExit(3)", "HookTimeoutError()"]
