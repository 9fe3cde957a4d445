"""An event loop on a test's clock: `asyncio.sleep` and time-outs take no time."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any, Final, TypeVar

from tasker_actors.events.async_hooks import AwaitHook, within
from tasker_actors.settings.sections import EventBusSettings
from tasker_actors.steps.failures import StepTimeoutError
from tasker_actors.testing.clock import ManualClock

_Value = TypeVar("_Value")

_HOOKS_TIMEOUT_S: Final = EventBusSettings.model_fields["dispatch_timeout_ms"].default / 1000
_OWN_DESCRIPTORS = 1
"""The loop's own end of the pipe that wakes it."""


class HandlerRunner:
    """Runs the async handlers, hooks and subscribers of one run of a task, on one loop.

    Blocks. A test that runs on an event loop itself may use it: the coroutine then has a thread of its own.
    """

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._loop: _ManualLoop | None = None
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> HandlerRunner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._runner is not None:
            self._loop.stand_still()
            _apart(self._runner.close)

    def run(self, coroutine: Coroutine[Any, Any, _Value]) -> _Value:
        """Run a coroutine to its end and return what it returns."""
        if self._runner is None:
            loop = self._loop = _ManualLoop(self._clock)
            self._runner = asyncio.Runner(loop_factory=lambda: loop)
        runner, context = self._runner, copy_context()
        return _apart(lambda: runner.run(coroutine, context=context))

    def hooks(self) -> AwaitHook:
        """Return what runs async hooks, all of them within the limit that a worker has by default, from now on."""
        deadline = self._clock.elapsed_s + _HOOKS_TIMEOUT_S

        def await_hook(hook: Awaitable[Any]) -> Any:
            return within(hook, self.run, deadline - self._clock.elapsed_s, StepTimeoutError)

        return await_hook


def _apart(call: Callable[[], _Value]) -> _Value:
    """Call something that needs a thread without a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    done: list[_Value] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits for this one
            failed.append(error)

    thread = threading.Thread(target=run, name="async-handlers")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


class _ManualLoop(asyncio.SelectorEventLoop):
    """Where the loop would sleep it moves the clock, unless something from outside may wake it before."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._calls = 0
        super().__init__(_Selector(clock, lambda: self._calls > 0))

    def time(self) -> float:
        """Return the clock's time."""
        return self._clock.elapsed_s

    def run_in_executor(  # type: ignore[override]  # the stub's signature takes a type variable for its arguments
        self, executor: Executor | None, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """Run a call in a thread; while it runs, time stands still."""
        future = super().run_in_executor(executor, func, *args)
        self._calls += 1
        future.add_done_callback(self._returned)
        return future

    def stand_still(self) -> None:
        """Let no time pass any more: closing waits for threads, with a time limit in some versions of Python."""
        self._calls += 1

    def _returned(self, _: object) -> None:
        self._calls -= 1


class _Selector(selectors.DefaultSelector):
    """Waits for descriptors, or moves the clock where there are none to wait for."""

    def __init__(self, clock: ManualClock, has_calls: Callable[[], bool]) -> None:
        super().__init__()
        self._clock = clock
        self._has_calls = has_calls

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; `timeout` passes on the clock, and for real only where a descriptor is waited for."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self._has_calls():
            return super().select(None)
        ready = super().select(timeout if len(self.get_map()) > _OWN_DESCRIPTORS else 0)
        if not ready:
            self._clock.advance(timeout)
        return ready
