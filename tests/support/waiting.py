"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_STABLE_LOOKS = 3


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Return once the condition holds; fails the test if it does not within the time limit."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        pause.wait(0.01)


def until_stable(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Return once the condition holds at three looks in a row: something may be between two threads at one of them."""
    looks = 0

    def holds() -> bool:
        nonlocal looks
        looks = looks + 1 if condition() else 0
        return looks == _STABLE_LOOKS

    until(holds, timeout_s)
