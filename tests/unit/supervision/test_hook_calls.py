"""Users' hooks in the supervisor hold up nobody for longer than they may."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

import pytest
from support.waiting import until

from tasker_actors.delivery.publisher_hooks import HookTimeoutError
from tasker_actors.supervision.hook_calls import HookCall


def left_behind() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "publisher-hooks"]


def test_a_result_that_comes_in_time_is_returned():
    assert HookCall(lambda: 42).result(time.monotonic() + 10) == 42
    until(lambda: not left_behind())


@pytest.mark.parametrize("what", [sys.exit, lambda: 1 / 0], ids=["exits", "raises"])
def test_a_hook_without_a_result_is_not_waited_for(what):
    began = time.monotonic()
    with pytest.raises(HookTimeoutError):
        HookCall(what).result(began + 600)
    assert time.monotonic() - began < 60


def test_a_hook_that_runs_in_circles_is_interrupted_and_its_thread_ends():
    def circles() -> None:
        while True:
            pass

    with pytest.raises(HookTimeoutError):
        HookCall(circles).result(time.monotonic() + 0.1)
    until(lambda: not left_behind())


def test_a_hook_that_is_blocked_in_native_code_is_left_behind():
    release = threading.Event()
    pause = ctypes.CDLL(None).poll  # native code that gives the interpreter away and hears no exception

    def blocked() -> None:
        while not release.is_set():
            pause(None, 0, 3000)

    began = time.monotonic()
    with pytest.raises(HookTimeoutError):
        HookCall(blocked).result(began + 0.1)
    assert left_behind()
    release.set()
    until(lambda: not left_behind())


def test_a_hook_whose_turn_comes_too_late_is_not_called():
    called: list[bool] = []
    with pytest.raises(HookTimeoutError):
        HookCall(lambda: called.append(True)).result(time.monotonic() - 1)
    assert called == []
