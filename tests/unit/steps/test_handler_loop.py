"""The event loop that async handlers share: none of them can end it, and it is known who blocks it (HAZARDS 36)."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from support.waiting import until

from tasker_actors.steps.handler_loop import HandlerLoop
from tasker_actors.telemetry.logging import get_logger


@pytest.fixture
def loop() -> Iterator[HandlerLoop]:
    loop = HandlerLoop(get_logger("tests"))
    loop.start()
    yield loop
    loop.stop(time.monotonic() + 5)
    loop.loop.close()


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    """Call it as an executor would, in a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


async def value() -> int:
    await asyncio.sleep(0)
    return 42


def test_a_coroutine_is_run_and_its_value_or_error_returned(loop: HandlerLoop):
    async def failing() -> None:
        raise ValueError("no")

    assert loop.run(value(), 1) == 42
    with pytest.raises(ValueError, match="no"):
        loop.run(failing(), 2)


async def leave() -> None:
    sys.exit(3)


def leaves_in_a_task() -> Coroutine[Any, Any, None]:
    async def handler() -> None:
        handler.task = asyncio.get_running_loop().create_task(leave())  # type: ignore[attr-defined]  # kept from the collector

    return handler()


def leaves_in_a_callback() -> Coroutine[Any, Any, None]:
    async def handler() -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 3)

    return handler()


def stops_the_loop() -> Coroutine[Any, Any, None]:
    async def handler() -> None:
        asyncio.get_running_loop().stop()

    return handler()


@pytest.mark.parametrize("misbehaving", [leaves_in_a_task, leaves_in_a_callback, stops_the_loop])
def test_nothing_that_a_handler_leaves_behind_ends_the_loop_for_others(
    loop: HandlerLoop, misbehaving: Callable[[], Coroutine[Any, Any, None]]
):
    waiting = in_thread(lambda: loop.run(asyncio.sleep(0.05, "other"), 1))

    loop.run(misbehaving(), 2)

    assert in_thread(lambda: loop.run(value(), 3)).result(10) == 42
    assert waiting.result(10) == "other"


def test_a_broken_loop_is_replaced(loop: HandlerLoop, monkeypatch: pytest.MonkeyPatch):
    broken = loop.loop
    loop.run(value(), 1)

    def break_it() -> None:
        monkeypatch.setattr(broken, "_run_once", lambda: (_ for _ in ()).throw(OSError("a descriptor was closed")))

    broken.call_soon_threadsafe(break_it)
    until(lambda: loop.loop is not broken)

    assert in_thread(lambda: loop.run(value(), 2)).result(10) == 42
    broken.close()


def test_an_attempt_that_another_keeps_from_the_loop_is_told_from_the_one_that_does(loop: HandlerLoop):
    entered, leave = threading.Event(), threading.Event()

    async def blocking() -> None:
        entered.set()
        assert leave.wait(10)

    victim = in_thread(lambda: loop.run(asyncio.sleep(0.01), 2))
    blocker = in_thread(lambda: loop.run(blocking(), 1))
    assert entered.wait(10)
    loop.look(100.0)

    assert loop.is_blocked_by_another(2, since=100.5)
    assert not loop.is_blocked_by_another(1, since=100.5)  # it is the one that blocks
    assert not loop.is_blocked_by_another(2, since=99.5)  # its limit was over before
    leave.set()
    assert (blocker.result(10), victim.result(10)) == (None, None)
    until(lambda: not loop.is_blocked_by_another(2, since=100.5))


def test_a_loop_that_answers_blocks_nobody(loop: HandlerLoop):
    leave = threading.Event()

    async def patient() -> None:
        while not leave.is_set():
            await asyncio.sleep(0.001)

    waiting = in_thread(lambda: loop.run(patient(), 1))
    until(lambda: bool(loop._tokens))
    loop.look(100.0)

    until(lambda: loop._asked_at is None)
    assert not loop.is_blocked_by_another(2, since=200.0)
    leave.set()
    waiting.result(10)
