"""Handles that count into a memory block, from any thread.

Each holds the block's memory and the place of its figure. All share one lock, which is held for one addition, or for
all those of one call: exact, about 0.3 microseconds for one, also with eight threads at once.
"""

from __future__ import annotations

from bisect import bisect_left
from math import isnan, nan
from threading import Lock
from time import time
from typing import TYPE_CHECKING

from tasker_actors.stats.figures import BUCKETS, observable
from tasker_actors.telemetry.metrics import DURATION_BOUNDS_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tasker_actors.telemetry.trace_context import TraceContext


class Memory:
    """The cells of one block as whole numbers and as floating point numbers, and the lock of their many writers.

    `exemplars` are no part of the block: by the cell that counted them, what was counted, in which span and when, since
    they were last taken: the latest of each counter and bucket, `max_exemplars` at most.
    """

    __slots__ = ("__weakref__", "cells", "doubles", "exemplars", "lock", "max_exemplars")

    def __init__(self, buffer: memoryview, max_exemplars: int) -> None:
        self.lock = Lock()
        self.cells = buffer.cast("Q")
        self.doubles = buffer.cast("d")
        self.exemplars: dict[int, tuple[TraceContext, float, float]] = {}
        self.max_exemplars = max_exemplars

    def exemplify(self, cell: int, trace: TraceContext, value: float) -> None:
        """Keep what a cell has just counted as its exemplar; the lock is held."""
        if cell in self.exemplars or len(self.exemplars) < self.max_exemplars:
            self.exemplars[cell] = (trace, value, time())

    def take_exemplars(self) -> dict[int, tuple[TraceContext, float, float]]:
        """Hand over what was kept since the last time."""
        with self.lock:
            exemplars, self.exemplars = self.exemplars, {}
        return exemplars

    def detach(self) -> None:
        """Count into private memory from now on, with a lock that nobody holds: for the child of a fork."""
        self.lock = Lock()
        self.exemplars = {}
        private = memoryview(bytearray(self.cells.nbytes))
        self.cells = private.cast("Q")
        self.doubles = private.cast("d")


class CounterCell:
    """A number that only rises."""

    __slots__ = ("_index", "_memory")

    def __init__(self, memory: Memory, index: int) -> None:
        self._memory = memory
        self._index = index

    def add(self, amount: int = 1, trace: TraceContext | None = None) -> None:
        """Count `amount` more; ValueError for a negative one, which would make the figure fall.

        `trace` is the span that did it, given only if it is recorded: what is counted becomes the figure's exemplar.
        """
        if amount < 0:
            message = f"a counter cannot fall by {-amount}"
            raise ValueError(message)
        memory = self._memory
        with memory.lock:
            memory.cells[self._index] += amount
            if trace is not None:
                memory.exemplify(self._index, trace, amount)

    def add_all(self, traces: Sequence[TraceContext | None]) -> None:
        """Count one more for each, as `add` does: with the lock taken once."""
        memory = self._memory
        with memory.lock:
            memory.cells[self._index] += len(traces)
            for trace in traces:
                if trace is not None:
                    memory.exemplify(self._index, trace, 1)


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

    def observe(self, milliseconds: float, trace: TraceContext | None = None) -> None:
        """Count one duration; a negative, infinite or NaN one counts as 0. `trace` is as with a counter."""
        self.observe_all(((milliseconds, trace),))

    def observe_all(self, durations: Iterable[tuple[float, TraceContext | None]]) -> None:
        """Count many durations, each with its trace, as `observe` does: with the lock taken once."""
        memory, first = self._memory, self._index
        total = first + BUCKETS
        with memory.lock:
            cells, doubles = memory.cells, memory.doubles
            for duration, trace in durations:
                milliseconds = observable(duration)
                bucket = first + bisect_left(DURATION_BOUNDS_MS, milliseconds)
                cells[bucket] += 1
                doubles[total] += milliseconds
                if trace is not None:
                    memory.exemplify(bucket, trace, milliseconds)


Cell = CounterCell | GaugeCell | HistogramCell
