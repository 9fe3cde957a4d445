"""Calls something at a moment, or earlier when told."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class Alarm:
    """Rings once for all the moments that it was set to; `ring` is called in a thread of the alarm's own.

    Any thread may set it. It is set again by whoever wants it to ring again.
    """

    def __init__(self, ring: Callable[[], None], name: str) -> None:
        self._ring = ring
        self._name = name
        self._changed = threading.Condition()
        self._at = math.inf
        self._is_stopping = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def set(self, moment: float) -> None:
        """Ring at this monotonic moment at the latest; at once if it is over."""
        with self._changed:
            if moment < self._at:
                self._at = moment
                self._changed.notify()

    def set_off(self) -> None:
        """Ring at once."""
        self.set(time.monotonic())

    def stop(self) -> None:
        """Never ring again; does not wait for a ring that has begun."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def _run(self) -> None:
        while self._wait():
            self._ring()

    def _wait(self) -> bool:
        """Wait until it is time, and forget what it was set to; returns False once it is stopped."""
        with self._changed:
            while not self._is_stopping:
                left_s = self._at - time.monotonic()
                if left_s <= 0:
                    self._at = math.inf
                    return True
                self._changed.wait(None if math.isinf(left_s) else min(left_s, threading.TIMEOUT_MAX))
            return False
