"""StepExecutor around a handler: publishers' hooks, the token in shared memory, its own failure.

SPEC 2 rule 2 (publishing never fails a step), DESIGN 3 rules 3 (tokens) and 8 (the ledger).
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.executing import Bench
from support.leases import event, leased
from support.waiting import until

from tasker_actors.events.publisher import BasePublisher
from tasker_actors.messages import ExecutorFree
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.telemetry.trace_context import current_correlation_id


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


# The publishers' hooks


class Hooked(BasePublisher):
    """Does what the test wants in a hook."""

    publisher_name = "hooked"

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def should_publish(self, context: Any) -> bool:
        self._hook()
        return True


def hooked(hook: Any) -> Any:
    return leased(
        handler=lambda _context: {"ok": 1},
        publishers={"hooked": Hooked(hook)},
        publishes_events=[event("a.hooked", publisher="hooked"), event("b.plain")],
    )


def names(finished: FinishedStep) -> tuple[list[str], list[str]]:
    events, refused = finished.derived.events, finished.derived.refused
    return [one.event_name for one in events], [one.event_name for one in refused]


def test_a_hook_past_its_limit_costs_its_event_and_not_the_step(bench: Bench):
    running = threading.Event()

    def hang() -> None:
        running.set()
        while True:
            threading.Event().wait(0.001)

    bench.start(hooked(hang))
    assert running.wait(10)
    bench.interrupt()

    finished = bench.finished.get(timeout=10).finished
    assert (finished.state, names(finished)) == ("complete", (["b.plain"], ["a.hooked"]))


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_whatever_a_hook_raises_costs_its_event_and_not_the_step(bench: Bench, error):
    def fail() -> None:
        raise error("no")

    bench.start(hooked(fail))
    until(lambda: not bench.freed.empty() or bool(bench.restarts))

    assert bench.restarts == []
    finished = bench.finished.get(timeout=10).finished
    assert (finished.state, names(finished)) == ("complete", (["b.plain"], ["a.hooked"]))


class Awaiting(BasePublisher):
    """Does what the test wants in an async hook, after it has waited for something."""

    publisher_name = "hooked"

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    async def should_publish(self, context: Any) -> Any:
        await asyncio.sleep(0)
        return await self._hook()


def awaiting(hook: Any) -> Any:
    return leased(
        handler=lambda _context: {"ok": 1},
        publishers={"hooked": Awaiting(hook)},
        publishes_events=[event("a.hooked", publisher="hooked"), event("b.plain")],
    )


def test_an_async_hook_runs_on_the_loop_of_the_handlers_and_knows_its_step(bench: Bench):
    seen = []

    async def look() -> str:
        seen.append((asyncio.get_running_loop(), current_correlation_id(), bench.tokens[0]))
        return "an answer that is true"

    step = awaiting(look)
    (finished,) = bench.run(step)

    assert names(finished) == (["a.hooked", "b.plain"], [])
    assert seen == [(bench.loop.loop, step.correlation_id, step.token)]


def test_an_async_hook_past_its_limit_is_cancelled_and_costs_its_event_and_not_the_step():
    bench, ended = Bench(hooks_timeout_ms=50), threading.Event()

    async def for_ever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    try:
        (finished,) = bench.run(awaiting(for_ever))
        assert (finished.state, names(finished)) == ("complete", (["b.plain"], ["a.hooked"]))
        assert "did not return in time" in finished.derived.refused[0].reason
        assert ended.is_set()
        (after,) = bench.run(leased(handler=lambda _context: {"ok": 1}))
        assert after.state == "complete"
    finally:
        bench.close()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_whatever_an_async_hook_raises_costs_its_event_and_neither_the_step_nor_the_loop(bench: Bench, error):
    async def fail() -> None:
        raise error("no")

    async def handler(_context: Any) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"ok": 1}

    failed, after = bench.run(awaiting(fail), leased(handler=handler, is_async=True))

    assert bench.restarts == []
    assert (failed.state, names(failed)) == ("complete", (["b.plain"], ["a.hooked"]))
    assert after.state == "complete"


# Rule 3: the token in shared memory


def test_the_token_is_there_from_before_the_handler_until_its_events_are_made(bench: Bench):
    seen = []

    def look(_context: Any = None) -> dict[str, int]:
        seen.append(bench.tokens[0])
        return {"ok": 1}

    step = leased(
        handler=look,
        publishers={"hooked": Hooked(look)},
        publishes_events=[event("a.hooked", publisher="hooked")],
    )
    bench.run(step)

    assert seen == [step.token, step.token]
    assert bench.tokens.written == [step.token, 0]


def test_the_token_is_gone_after_a_handler_that_left(bench: Bench):
    bench.run(leased(handler=lambda _context: sys.exit(3)))

    assert bench.tokens[0] == 0


# Rule 8: what the ledger holds outlives the actor


def test_a_step_whose_executor_failed_gets_a_result_and_the_executor_is_free_again(bench: Bench):
    bench.tokens.broken = True
    step = leased(handler=lambda _context: {"ok": 1})
    bench.start(step)
    until(lambda: bench.restarts == ["OSError"])

    assert bench.freed.get(timeout=5) == ExecutorFree(0)
    finished = bench.finished.get(timeout=5).finished
    assert (finished.step.token, finished.state) == (step.token, "waiting_for_retry")
