"""A time limit for code that may not return: interrupted once, in its own call and nowhere else (HAZARDS 35)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from tasker_actors.actors.call_guard import CallGuard

LATE = 1e9
"""A moment past every deadline."""


class TooLate(BaseException):
    """The end of a limit."""


@pytest.fixture
def guard() -> CallGuard[str]:
    return CallGuard(TooLate)


class Call(threading.Thread):
    """A guarded call in a thread of its own that runs until it is interrupted or released."""

    def __init__(self, guard: CallGuard[str], *, holds: bool = False) -> None:
        super().__init__(daemon=True)
        self.entered, self.release = threading.Event(), threading.Event()
        self.raised: list[str] = []
        self.interrupted: list[bool] = []
        self._guard = guard
        self._holds = holds

    def run(self) -> None:
        """Make the call."""
        try:
            self._guard.begin("the call", time.monotonic() + 100)
            try:
                self._work()
            finally:
                self.interrupted.append(self._guard.end())
        except TooLate:
            self.raised.append("in the call")

    def _work(self) -> None:
        self.entered.set()
        if self._holds:
            self.release.wait()
        while not self.release.is_set():
            self.release.wait(0.001)


def test_a_call_past_its_deadline_is_interrupted(guard: CallGuard[str]):
    call = Call(guard)
    call.start()
    assert call.entered.wait(10)
    assert guard.check(LATE, LATE) is None

    call.join(10)
    assert (call.raised, call.interrupted) == (["in the call"], [True])


def test_a_call_before_its_deadline_is_left_alone(guard: CallGuard[str]):
    call = Call(guard)
    call.start()
    assert call.entered.wait(10)
    assert guard.check(time.monotonic(), 0.0) is None
    call.release.set()

    call.join(10)
    assert (call.raised, call.interrupted) == ([], [False])


def test_a_call_that_does_not_return_when_interrupted_is_named_after_the_grace(guard: CallGuard[str]):
    call = Call(guard, holds=True)
    call.start()
    assert call.entered.wait(10)
    deadline = time.monotonic() + 100

    assert guard.check(deadline + 1, 60.0) is None
    assert guard.check(deadline + 50, 60.0) is None
    assert guard.check(deadline + 60, 60.0) == "the call"
    call.release.set()
    call.join(10)


TRACED = """
import sys, threading, time
from tasker_actors.actors.call_guard import CallGuard

class TooLate(BaseException): ...

def call():
    guard.begin("the call", 0.0)
    try:
        entered.set()
        release.wait()
    except TooLate:
        seen.append("in the call")
    finally:
        guard.end()

guard, entered, release, seen = CallGuard(TooLate), threading.Event(), threading.Event(), []
thread = threading.Thread(target=call)
sys.settrace(lambda *_: None)
thread.start()
entered.wait()
guard.check(time.monotonic(), 60.0)
release.set()
thread.join()
print(*seen)
"""


def test_an_interruption_that_waits_for_its_thread_stops_no_other_even_under_a_tracer():
    """CPython 3.11 under a tracer runs in circles while any exception of another thread is pending."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", TRACED], env=environment, capture_output=True, timeout=30, check=False)

    assert (done.stdout, done.stderr, done.returncode) == (b"in the call\n", b"", 0)


def test_between_two_calls_there_is_nothing_to_interrupt(guard: CallGuard[str]):
    assert guard.check(LATE, 0.0) is None
    guard.begin("one", time.monotonic() + 100)
    assert guard.end() is False
    assert guard.check(LATE, 0.0) is None


def test_each_call_has_a_limit_of_its_own(guard: CallGuard[str]):
    now = time.monotonic()
    guard.begin("short", now + 1)
    guard.end()
    guard.begin("long", now + 100)

    assert guard.check(now + 50, 0.0) is None
    assert guard.end() is False


class InterruptingLock:
    """A guard's lock that lets the clock interrupt the call at the very moment at which it ends."""

    def __init__(self, guard: CallGuard[str]) -> None:
        self._guard = guard
        self._lock: Any = guard._lock
        self._owner = threading.get_ident()
        self._is_armed = True

    def __enter__(self) -> None:
        if self._is_armed and threading.get_ident() == self._owner:
            self._is_armed = False
            clock = threading.Thread(target=self._guard.check, args=(LATE, LATE))
            clock.start()
            clock.join()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_an_interruption_that_arrives_as_the_call_ends_leaves_nothing_running_nor_hits_what_follows(
    guard: CallGuard[str],
):
    guard.begin("the call", time.monotonic() + 100)
    lock: Any = InterruptingLock(guard)
    guard._lock = lock
    with suppress(TooLate):
        guard.end()

    assert guard.check(LATE, 0.0) is None
    for _ in range(1000):
        pass  # where an interruption that is still on its way would arrive


FORKING = """
import os, sys, time
from tasker_actors.actors.call_guard import CallGuard

guard = CallGuard(KeyboardInterrupt)
guard.begin("call", time.monotonic() + 60)
child = os.fork()
guard.end()
print("went on", flush=True)
os.waitpid(child, 0)
"""


def test_a_call_that_forked_goes_on_in_the_parent_only():
    output = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=60)
    assert output.stdout.split("\n") == ["went on", ""]
