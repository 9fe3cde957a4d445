"""A time limit for code that cannot be trusted to return (HAZARDS 35).

A thread cannot be killed. What can be done is to raise an exception in it, which works while it runs Python code, and
to notice when even that did not help. Both are decided by another thread, the worker's clock.
"""

from __future__ import annotations

import ctypes
import os
import threading
from functools import cache, partial
from typing import Final, Generic, TypeVar

_Subject = TypeVar("_Subject")

_CHECKS = 100
"""More than enough: the first check after the exception was set delivers it."""


class CallGuard(Generic[_Subject]):
    """Watches one thread's current call; `error` is raised in that thread when the call's deadline passes.

    The thread calls `begin` and `end` around each call, the clock calls `check`. After `end` no exception can hit what
    the thread does next; one that arrives between the call's return and `end` is the caller's to catch.
    """

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error
        _notice_forks()
        self._made_after = len(_FORKS)
        self._lock = threading.Lock()
        self._subject: _Subject | None = None
        self._thread_id = 0
        self._deadline = 0.0
        self._interrupted = False

    @property
    def is_active(self) -> bool:
        """Whether a call runs, within its limit or past it; from any thread."""
        return self._subject is not None

    def begin(self, subject: _Subject, deadline: float) -> None:
        """Start the limit for a call in this thread; `deadline` is in seconds of time.monotonic()."""
        # Without the lock, because without a subject `check` looks at nothing else: it is set last.
        self._thread_id = threading.get_ident()
        self._deadline = deadline
        self._interrupted = False
        self._subject = subject

    def end(self) -> bool:
        """End the limit and tell whether the call was interrupted.

        A call that forked returns twice. In the child it ends the process: what comes next is this process's, and would
        be done a second time there.
        An exception that was raised too late to reach the call is taken in here. It is not taken back with CPython's
        call for that: up to 3.12 that leaves the interpreter's flag for pending exceptions up (see _raise_in).
        """
        if self._made_after != len(_FORKS):
            os._exit(os.EX_OK)
        try:
            with self._lock:
                self._subject = None
                interrupted = self._interrupted
            if interrupted:
                for _ in range(_CHECKS):
                    pass  # a loop's jump back is where a pending exception is delivered
        except self._error:
            return self._end()
        return interrupted

    def _end(self) -> bool:
        with self._lock:
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


_FORKS: Final[list[None]] = []
"""One entry for each fork that led to this process since it had guards: to ask for its id at each call costs more."""


@cache
def _notice_forks() -> None:
    os.register_at_fork(after_in_child=partial(_FORKS.append, None))


class _FlagLoweringError(BaseException):
    """Raised and caught in _raise_in alone."""


def _raise_in(thread_id: int, error: type[BaseException]) -> None:
    """Raise `error` in another thread at its next step in Python, without a cost to the others until then.

    Up to CPython 3.12 a pending exception keeps a flag up that all threads share: each of them stops to look at every
    call and jump, and in 3.11 under a tracer (coverage, a debugger) for ever, until the thread it is for comes back
    from C. Whoever takes an exception lowers the flag, so this thread takes one of its own at once. The other thread
    raises it again as it comes back: it looks for an exception of its own whenever it takes the interpreter's lock.
    Nothing written in Python may be called between the two.
    """
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    set_exception(ctypes.c_ulong(thread_id), ctypes.py_object(error))
    try:
        set_exception(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(_FlagLoweringError))
        for _ in range(_CHECKS):
            pass
    except _FlagLoweringError:
        return
