"""StepExecutor in a real actor system: whatever a handler does costs its own attempt (SPEC 6, HAZARDS 9, 10, 35, 36)."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from support.leases import MIB, Inbox, event, leased
from support.waiting import until

from tasker_actors.actors import ActorSystem, RestartPolicy
from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.messages import ExecuteSteps, ExecutorFree, FinishedStep
from tasker_actors.steps.executor import StepExecutor
from tasker_actors.steps.failures import PermanentError, RetryableError, StepTimeoutError
from tasker_actors.steps.ledger import Ledger, LedgerItem, Stage
from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.trace_context import current_correlation_id, current_trace
from tasker_actors.workflow.outcome import StepFailure, StepSuccess


class Tokens(list[int]):
    """One cell, and everything that was ever written into it."""

    def __init__(self) -> None:
        super().__init__([0])
        self.written: list[int] = []
        self.broken = False

    def __setitem__(self, cell: Any, token: Any) -> None:
        if self.broken:
            self.broken = False
            raise OSError("the shared memory is gone")
        self.written.append(token)
        super().__setitem__(cell, token)


class Bench:
    """One executor, and what it told source and router."""

    def __init__(self, hooks_timeout_ms: int = 30_000) -> None:
        self.restarts: list[str] = []
        self.system = ActorSystem("worker-0", on_restart=lambda _actor, reason, _error: self.restarts.append(reason))
        self.ledger = Ledger()
        self.ready: deque[Any] = deque()
        self.tokens = Tokens()
        self.guard: CallGuard[LedgerItem] = CallGuard(StepTimeoutError)
        self.loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=self.loop.run_forever)
        self._loop_thread.start()
        self.freed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        source = self.system.start("source", lambda: Inbox(self.freed))
        router = self.system.start("router", lambda: Inbox(self.finished))
        self.address = self.system.start(
            "executor",
            lambda: StepExecutor(
                0,
                ledger=self.ledger,
                ready=self.ready,
                source=source,
                router=router,
                tokens=self.tokens,
                guard=self.guard,
                loop=self.loop,
                logger=get_logger("tests"),
                hooks_timeout_ms=hooks_timeout_ms,
                max_payload_bytes=MIB,
            ),
            RestartPolicy(backoff_base_ms=0),
        )

    def start(self, *steps: Any) -> None:
        """Make steps ready and wake the executor."""
        self.ledger.add(steps)
        self.ready.extend(steps)
        self.address.tell(ExecuteSteps())

    def run(self, *steps: Any) -> list[FinishedStep]:
        """Run steps to their end."""
        self.start(*steps)
        results = [self.finished.get(timeout=10).finished for _ in steps]
        assert self.freed.get(timeout=10) == ExecutorFree(0)
        return results

    def interrupt(self, grace: float = 1000.0) -> LedgerItem | None:
        """Let the clock be past every limit."""
        return self.guard.check(time.monotonic() + 500.0, grace)

    def close(self) -> None:
        """Stop everything."""
        left = self.system.stop_all([], time.monotonic() + 5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._loop_thread.join()
        self.loop.close()
        assert left == ()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_a_handlers_value_becomes_the_result(bench: Bench):
    (finished,) = bench.run(leased(handler=lambda context: {"n": context.input_data["n"] + 1}, context={"n": 1}))

    assert (finished.state, finished.result, finished.outcome) == ("complete", b'{"n":2}', StepSuccess({"n": 2}))
    assert finished.duration_ms >= 0
    assert bench.ledger.items()[0].stage is Stage.FINISHED


def test_all_ready_steps_are_run_in_order_for_one_message(bench: Bench):
    steps = [leased(handler=lambda _context, n=n: {"n": n}) for n in range(5)]

    results = bench.run(*steps)

    assert [finished.step for finished in results] == steps
    assert bench.freed.empty()


def test_a_step_that_was_let_go_before_it_began_is_not_run(bench: Bench):
    ran = []
    gone = leased(handler=lambda _context: ran.append("gone"))
    bench.ledger.add([gone])
    bench.ledger.take_waiting()
    bench.ready.append(gone)

    bench.run(leased(handler=lambda _context: ran.append("held")))

    assert ran == ["held"]


def test_the_handler_sees_its_attempt_its_task_and_what_came_before(bench: Bench):
    seen: dict[str, Any] = {}

    def handler(context: Any) -> None:
        for name in ("task_uuid", "step_uuid", "step_name", "namespace", "correlation_id", "handler_name", "retry_count",
                     "max_retries", "dependency_results", "input_data"):  # fmt: skip
            seen[name] = getattr(context, name)
        seen["correlated"] = (current_correlation_id(), current_trace())

    step = leased(
        handler=handler,
        context={"amount": 3},
        row={"attempt": 2, "dependency_results": {"before": {"ok": 1}}},
        retry={"max_attempts": 4},
    )
    bench.run(step)

    assert seen == {
        "task_uuid": step.task.task_uuid,
        "step_uuid": step.step_uuid,
        "step_name": "only",
        "namespace": "shop",
        "correlation_id": step.task.correlation_id,
        "handler_name": "shop.only",
        "retry_count": 1,
        "max_retries": 4,
        "dependency_results": {"before": {"ok": 1}},
        "input_data": {"amount": 3},
        "correlated": (step.task.correlation_id, step.trace),
    }


def test_two_attempts_do_not_share_a_context_that_one_of_them_changes(bench: Bench):
    def handler(context: Any) -> Any:
        context.input_data["list"].append(1)
        return {"seen": len(context.input_data["list"])}

    first = leased(handler=handler, context={"list": []})
    second = leased(handler=handler, task=first.task)

    assert [finished.result for finished in bench.run(first, second)] == [b'{"seen":1}', b'{"seen":1}']


def test_what_a_handler_publishes_goes_with_its_attempt(bench: Bench):
    def handler(context: Any) -> None:
        context.publish("order.seen", {"n": 1}, delivery="durable")
        context.publish("order.failed", {"n": 2}, when="failure")

    (finished,) = bench.run(leased(handler=handler))

    assert [one.event_name for one in finished.derived.events] == ["order.seen"]


# What a handler may do


def leave(context: Any) -> None:
    sys.exit(3)


@pytest.mark.parametrize(
    ("error", "error_type", "state"),
    [
        (ValueError("no"), "handler_error", "waiting_for_retry"),
        (RetryableError("later", retry_after=9), "retryable_error", "waiting_for_retry"),
        (PermanentError("never"), "permanent_error", "error"),
        (SystemExit(3), "handler_error", "waiting_for_retry"),
        (KeyboardInterrupt(), "handler_error", "waiting_for_retry"),
        (MemoryError(), "handler_error", "waiting_for_retry"),
        (GeneratorExit(), "handler_error", "waiting_for_retry"),
        (RecursionError(), "handler_error", "waiting_for_retry"),
        (ValueError("\ud800\0"), "handler_error", "waiting_for_retry"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_whatever_a_handler_raises_is_its_attempts_failure(bench: Bench, error, error_type, state, is_async):
    def raising(context: Any) -> None:
        raise error

    async def raising_async(context: Any) -> None:
        raise error

    handler = raising_async if is_async else raising
    finished, following = bench.run(
        leased(handler=handler, is_async=is_async), leased(handler=lambda _context: {"fine": True})
    )

    assert isinstance(finished.outcome, StepFailure)
    assert (finished.outcome.error_type, finished.state) == (error_type, state)
    finished.outcome.message.encode()
    assert (following.state, bench.restarts) == ("complete", [])


def test_a_failure_result_is_a_failure(bench: Bench):
    (finished,) = bench.run(
        leased(handler=lambda _context: StepHandlerResult.failure("why", error_type="odd", retryable=False))
    )

    assert (finished.state, getattr(finished.outcome, "error_type", None)) == ("error", "odd")


def test_an_async_handler_runs_on_the_one_event_loop(bench: Bench):
    async def handler(context: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"loop": asyncio.get_running_loop() is bench.loop, "id": current_correlation_id()}

    step = leased(handler=handler, is_async=True)
    (finished,) = bench.run(step)

    assert finished.outcome == StepSuccess({"loop": True, "id": step.task.correlation_id})


def test_a_step_without_a_handler_here_fails_with_the_reason(bench: Bench):
    (finished,) = bench.run(leased())

    assert getattr(finished.outcome, "error_type", None) == "handler_not_found"


# Time limits


def test_a_handler_past_its_limit_is_interrupted_and_its_attempt_timed_out(bench: Bench):
    running = threading.Event()

    def handler(context: Any) -> None:
        running.set()
        while True:
            threading.Event().wait(0.001)

    bench.start(leased(handler=handler))
    assert running.wait(10)
    bench.interrupt()

    finished = bench.finished.get(timeout=10).finished
    assert getattr(finished.outcome, "error_type", None) == "timeout"
    assert (bench.freed.get(timeout=10), bench.restarts) == (ExecutorFree(0), [])


def test_an_async_handler_past_its_limit_is_cancelled_on_the_loop(bench: Bench):
    async def handler(context: Any) -> None:
        await asyncio.get_running_loop().create_future()

    (finished,) = bench.run(leased(handler=handler, is_async=True, timeout_ms=20))

    assert getattr(finished.outcome, "error_type", None) == "timeout"


def test_a_handler_within_its_limit_is_left_alone(bench: Bench):
    entered, leave = threading.Event(), threading.Event()

    def handler(context: Any) -> None:
        entered.set()
        assert leave.wait(10)

    bench.start(leased(handler=handler))
    assert entered.wait(10)
    assert bench.guard.check(time.monotonic(), 0.0) is None
    leave.set()

    assert bench.finished.get(timeout=10).finished.state == "complete"


def test_an_attempt_that_was_given_up_has_no_second_result(bench: Bench):
    entered, leave = threading.Event(), threading.Event()
    cancelled = []

    def handler(context: Any) -> None:
        entered.set()
        assert leave.wait(10)
        cancelled.append(context.cancelled)

    bench.start(leased(handler=handler))
    assert entered.wait(10)
    bench.ledger.give_up_running()
    leave.set()

    assert bench.freed.get(timeout=10) == ExecutorFree(0)
    assert (bench.finished.empty(), cancelled) == (True, [True])


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


def test_the_token_is_gone_after_a_handler_that_raised(bench: Bench):
    bench.run(leased(handler=leave))

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
