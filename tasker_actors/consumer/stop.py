"""A request to stop that may come from anywhere, signal handlers included."""

from __future__ import annotations

import queue
from contextlib import suppress


class StopRequest:
    """Ends waits in one thread. Not an Event: its lock would hang a signal handler that interrupts the wait itself."""

    def __init__(self) -> None:
        self._made = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def made(self) -> bool:
        """Whether somebody asked to stop; it stays so."""
        return self._made

    def make(self) -> None:
        """Ask to stop; returns at once. May interrupt itself (`SimpleQueue.put` is reentrant)."""
        self._made = True
        self._wake.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until somebody asks; tells whether somebody did."""
        if not self._made:
            with suppress(queue.Empty):
                self._wake.get(timeout=seconds)
        return self._made
