"""A time limit for code that cannot be trusted to return (HAZARDS 35).

A thread cannot be killed. What can be done is to raise an exception in it, which works while it runs Python code, and
to notice when even that did not help. Both are decided by another thread, the worker's clock.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Generic, TypeVar

_Subject = TypeVar("_Subject")


class CallGuard(Generic[_Subject]):
    """Watches one thread's current call; `error` is raised in that thread when the call's deadline passes.

    The thread calls `begin` and `end` around each call, the clock calls `check`. `end` takes back an exception that was
    raised too late to reach the call, so it cannot hit what the thread does next; one that arrives between the call's
    return and `end` is the caller's to catch.
    """

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error
        self._lock = threading.Lock()
        self._subject: _Subject | None = None
        self._thread_id = 0
        self._deadline = 0.0
        self._interrupted = False

    def begin(self, subject: _Subject, deadline: float) -> None:
        """Start the limit for a call in this thread; `deadline` is in seconds of time.monotonic()."""
        with self._lock:
            self._subject = subject
            self._thread_id = threading.get_ident()
            self._deadline = deadline
            self._interrupted = False

    def end(self) -> bool:
        """End the limit and tell whether the call was interrupted; raises `error` if it arrives in here."""
        try:
            return self._end()
        except self._error:
            self._end()
            raise

    def _end(self) -> bool:
        with self._lock:
            if self._interrupted:
                _raise_in(self._thread_id, None)
            self._subject = None
            return self._interrupted

    def check(self, now: float, grace: float) -> _Subject | None:
        """Interrupt the call past its deadline; return its subject if it still runs `grace` seconds later."""
        with self._lock:
            if self._subject is None or now < self._deadline:
                return None
            if not self._interrupted:
                self._interrupted = True
                _raise_in(self._thread_id, self._error)
            return self._subject if now >= self._deadline + grace else None


def _raise_in(thread_id: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), None if error is None else ctypes.py_object(error)
    )
