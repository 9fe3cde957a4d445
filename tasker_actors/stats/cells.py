"""Handles that count into a memory block, from any thread.

Each holds the block's memory and the place of its figure. All share one lock, which is held for one addition: exact,
about 0.3 microseconds, also with eight threads at once.
"""

from __future__ import annotations

from bisect import bisect_left
from math import isnan, nan
from threading import Lock

from tasker_actors.stats.figures import BUCKETS, observable
from tasker_actors.telemetry.metrics import DURATION_BOUNDS_MS


class Memory:
    """The cells of one block as whole numbers and as floating point numbers, and the lock of their many writers."""

    __slots__ = ("__weakref__", "cells", "doubles", "lock")

    def __init__(self, buffer: memoryview) -> None:
        self.lock = Lock()
        self.cells = buffer.cast("Q")
        self.doubles = buffer.cast("d")

    def detach(self) -> None:
        """Count into private memory from now on, with a lock that nobody holds: for the child of a fork."""
        self.lock = Lock()
        private = memoryview(bytearray(self.cells.nbytes))
        self.cells = private.cast("Q")
        self.doubles = private.cast("d")


class CounterCell:
    """A number that only rises."""

    __slots__ = ("_index", "_memory")

    def __init__(self, memory: Memory, index: int) -> None:
        self._memory = memory
        self._index = index

    def add(self, amount: int = 1) -> None:
        """Count `amount` more; ValueError for a negative one, which would make the figure fall."""
        if amount < 0:
            message = f"a counter cannot fall by {-amount}"
            raise ValueError(message)
        memory = self._memory
        with memory.lock:
            memory.cells[self._index] += amount


class GaugeCell:
    """A number that moves freely, and that can be absent."""

    __slots__ = ("_index", "_memory")

    def __init__(self, memory: Memory, index: int) -> None:
        self._memory = memory
        self._index = index

    def set(self, value: float) -> None:
        """Show `value`."""
        memory = self._memory
        with memory.lock:
            memory.doubles[self._index] = value

    def add(self, amount: float) -> None:
        """Show `amount` more, or less for a negative one; an absent gauge starts at 0."""
        memory = self._memory
        with memory.lock:
            value = memory.doubles[self._index]
            memory.doubles[self._index] = amount if isnan(value) else value + amount

    def clear(self) -> None:
        """Show nothing until the next `set` or `add`: what it measured is gone."""
        self.set(nan)


class HistogramCell:
    """Observations of a duration, in ms."""

    __slots__ = ("_index", "_memory")

    def __init__(self, memory: Memory, index: int) -> None:
        self._memory = memory
        self._index = index

    def observe(self, milliseconds: float) -> None:
        """Count one duration; a negative, infinite or NaN one counts as 0."""
        milliseconds = observable(milliseconds)
        bucket = self._index + bisect_left(DURATION_BOUNDS_MS, milliseconds)
        memory = self._memory
        with memory.lock:
            memory.cells[bucket] += 1
            memory.doubles[self._index + BUCKETS] += milliseconds


Cell = CounterCell | GaugeCell | HistogramCell
