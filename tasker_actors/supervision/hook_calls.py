"""Users' hooks in the supervisor: called in a thread that is left behind if they do not return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.delivery.publisher_hooks import HookTimeoutError

_Result = TypeVar("_Result")


class HookCall(Generic[_Result]):
    """One call that may hang, exit its thread, or block in native code; the caller waits only so long.

    Past the limit an exception is raised in the hook, which ends it while it runs Python code; one that is blocked
    elsewhere keeps its thread, and nothing else. (What holds the interpreter itself nobody in this process can bound.)
    """

    def __init__(self, function: Callable[[], _Result]) -> None:
        self._function = function
        self._results: list[_Result] = []
        self._guard: CallGuard[str] = CallGuard(HookTimeoutError)
        self._thread = threading.Thread(target=self._run, name="publisher-hooks", daemon=True)

    def result(self, deadline: float) -> _Result:
        """Call and return the result; HookTimeoutError if there is none by the deadline (monotonic), why ever."""
        if time.monotonic() < deadline:
            self._thread.start()
            self._thread.join(max(0.0, deadline - time.monotonic()))
            self._guard.check(time.monotonic(), 0.0)
            if self._results:
                return self._results[0]
        msg = "the hooks did not return a result in time"
        raise HookTimeoutError(msg)

    def _run(self) -> None:
        try:
            self._guard.begin("hooks", 0.0)
            try:
                self._results.append(self._function())
            finally:
                self._guard.end()
        except BaseException:  # noqa: BLE001 - an exit, an interruption: there is no result, which is what its caller sees
            return
