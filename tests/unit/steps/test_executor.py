"""StepExecutor in a real actor system: whatever a handler does costs its own attempt (SPEC 6, HAZARDS 10, 35, 36)."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.executing import Bench
from support.leases import leased

from tasker_actors.messages import ExecuteSteps, ExecutorFree
from tasker_actors.steps.failures import PermanentError, RetryableError
from tasker_actors.steps.ledger import Stage
from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.telemetry.trace_context import current_correlation_id, current_trace
from tasker_actors.workflow.outcome import StepFailure, StepSuccess


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
    steps = [leased(handler=lambda _context: {"ok": 1}) for _ in range(5)]

    results = bench.run(*steps)

    assert [finished.step for finished in results] == steps
    assert bench.freed.empty()


def test_while_too_many_events_are_on_their_way_no_step_begins(bench: Bench):
    """However many are ready: what they would publish has no place to wait."""
    step = leased(handler=lambda _context: {})
    bench.ledger.outflow.add(16 * 1024 * 1024)

    bench.start(step)
    assert bench.freed.get(timeout=10) == ExecutorFree(0)
    assert list(bench.ready) == [step]

    bench.ledger.outflow.remove(1)
    bench.address.tell(ExecuteSteps())
    assert bench.finished.get(timeout=10).finished.step is step


def test_a_step_that_was_let_go_before_it_began_is_not_run(bench: Bench):
    ran = []
    gone = leased(handler=lambda _context: ran.append("gone"))
    bench.ledger.add([gone])
    bench.ledger.take_waiting()
    bench.ready.append(gone)

    bench.run(leased(handler=lambda _context: ran.append("held")))

    assert ran == ["held"]


def test_the_handler_sees_its_attempt_its_task_and_what_came_before(bench: Bench):
    ids = ("task_uuid", "step_uuid", "step_name", "namespace", "correlation_id", "handler_name")
    names = (*ids, "retry_count", "max_retries", "dependency_results", "input_data")
    seen: dict[str, Any] = {}

    def handler(context: Any) -> None:
        seen.update((name, getattr(context, name)) for name in names)
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
        return {"loop": asyncio.get_running_loop() is bench.loop.loop, "id": current_correlation_id()}

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


def test_a_handler_that_swallows_its_interruption_is_given_to_the_clock_after_the_grace(bench: Bench):
    entered, swallowed, leave = threading.Event(), threading.Event(), threading.Event()

    def handler(context: Any) -> None:
        while not leave.is_set():
            try:
                entered.set()
                leave.wait(0.001)
            except BaseException:  # noqa: BLE001 - what this test is about
                swallowed.set()

    step = leased(handler=handler)
    bench.start(step)
    assert entered.wait(10)
    assert bench.interrupt() is None
    assert swallowed.wait(10)

    given_up = bench.interrupt(grace=0.0)

    assert given_up is not None
    assert given_up.step is step
    leave.set()
    assert bench.finished.get(timeout=10).finished.state == "complete"  # where the clock does not end it first


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


def test_a_handler_sees_the_name_inputs_and_checkpoint_of_its_own_row(bench: Bench):
    own = {"name": "only_002", "definition": 1, "inputs": {"cursor": {"batch_id": "002"}}, "checkpoint": {"cursor": 5}}

    def handler(context: Any) -> dict[str, Any]:
        seen = {"name": context.step_name, "inputs": dict(context.step_inputs), "checkpoint": dict(context.checkpoint)}
        context.step_inputs.clear()
        context.checkpoint.clear()
        return seen

    step = leased(handler=handler, row={"position": 9, "own": own})
    for _ in range(2):  # what the handler does to them, its next attempt does not see
        (finished,) = bench.run(replace(step, token=step.token + 1_000_000 + _))
        assert finished.outcome == StepSuccess(
            {"name": "only_002", "inputs": own["inputs"], "checkpoint": own["checkpoint"]}
        )
    assert (step.position, step.plan.position, step.plan.name) == (9, 1, "only")


def test_a_step_without_any_of_these_has_empty_inputs_and_no_checkpoint(bench: Bench):
    (finished,) = bench.run(leased(handler=lambda context: [context.step_inputs, context.checkpoint]))

    assert finished.outcome == StepSuccess({"result": [{}, None]})
