"""Hooks after a commit: each call leaves the backlog, whatever it does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.leases import event, finish, leased
from support.waiting import until

from tasker_actors.actors import ActorSystem
from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.delivery.backlog import Backlog
from tasker_actors.delivery.publisher_hooks import HookCall, HookTimeoutError, PublisherHooks, callbacks_size
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.messages import PublisherCallbacks
from tasker_actors.telemetry.logging import get_logger


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


@pytest.mark.parametrize("error", [None, ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_a_call_that_is_over_makes_room_for_another(system: ActorSystem, error: BaseException | None) -> None:
    publisher, backlog = Misbehaving(error), Backlog(2, 100_000)
    guard: CallGuard[HookCall] = CallGuard(HookTimeoutError)
    hooks = system.start(
        "hooks",
        lambda: PublisherHooks(guard=guard, backlog=backlog, timeout_ms=60_000, logger=get_logger("tests")),
    )
    declared = [event("a.one", publisher="misbehaving"), event("a.two", publisher="misbehaving")]
    result = finish(leased(publishers={"misbehaving": publisher}, publishes_events=declared))
    message = PublisherCallbacks(tuple((one, result) for one in result.derived.events))
    for _ in range(3):
        assert backlog.add(2, callbacks_size(message)) is None
        hooks.tell(message)
        until(lambda: backlog.count == 0)
    assert publisher.calls == 6
    assert backlog.add(1, 100_000) is None  # the bytes are given back too
