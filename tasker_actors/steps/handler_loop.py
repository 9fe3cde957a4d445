"""The event loop of a worker's async handlers, which none of them can end (HAZARDS 36)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class HandlerLoop:
    """One event loop in a thread of its own, shared by the async handlers of all executors.

    What they have in common (clients, pools) is tied to one loop, so they cannot have one each. A SystemExit in a task
    that nobody awaits, or a handler that stops the loop, ends it for nobody: it goes on where it was. A loop that is
    broken is replaced, and what ran on it is past its limit some time. `run` is for executors, the rest for the
    worker's main thread.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="async-handlers", daemon=True)
        self._stopping = False
        self._tokens: dict[asyncio.Task[Any], int] = {}
        self._asked_at: float | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop as it is now."""
        return self._loop

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, _Value], token: int) -> _Value:
        """Run a coroutine on the loop and return what it returns; blocks this thread. `token` is the attempt's."""
        return asyncio.run_coroutine_threadsafe(self._noted(coroutine, token), self._loop).result()

    def look(self, now: float) -> None:
        """Ask the loop for a sign of life while it runs anything."""
        if self._asked_at is None and self._tokens:
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._answer)

    def is_blocked_by_another(self, token: int, since: float) -> bool:
        """Tell whether another attempt has kept the loop to itself from `since` (monotonic seconds) until now.

        This one could then neither go on nor be cancelled, which is no fault of its own.
        """
        if self._asked_at is None or self._asked_at > since:
            return False
        current = asyncio.current_task(self._loop)
        return current is not None and self._tokens.get(current, token) != token

    def stop(self, deadline: float) -> None:
        """End the loop, and wait for that until `deadline` in monotonic seconds; what runs on it is left as it is."""
        self._stopping = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _answer(self) -> None:
        self._asked_at = None

    async def _noted(self, coroutine: Coroutine[Any, Any, _Value], token: int) -> _Value:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine's body
        self._tokens[task] = token
        try:
            return await coroutine
        finally:
            del self._tokens[task]

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._loop.run_forever()
            except Exception:
                if not self._stopping:
                    self._logger.exception("The event loop of async handlers broke; it is replaced")
                    self._loop = asyncio.new_event_loop()
                    self._tokens.clear()
                    self._asked_at = None
            except BaseException as error:  # noqa: BLE001 - raised in a task that nobody awaits; it costs nobody anything
                self._logger.error("A task of an async handler tried to end its thread", error=repr(error))
            else:
                if not self._stopping:
                    self._logger.warning("An async handler stopped the event loop; it goes on")
