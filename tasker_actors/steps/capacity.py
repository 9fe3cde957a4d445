"""How many steps a worker may hold: enough to be busy, few enough that others are not idle (DESIGN 3 rule 15)."""

from __future__ import annotations

from collections.abc import Iterable

_HELD_MS = 100.0
"""Measured work that may wait in this worker. Less would leave executors idle between two claims; more would keep slow
steps behind one worker while others have nothing to do."""

_LEAST_MS = 0.05
"""No step costs less than its way through the actors."""

_WEIGHT = 0.2

_WORTH_A_THREAD_MS = 2.0
"""Work that one executor does by itself. Waking more threads for less costs more than it brings: they share one
interpreter."""


def begun_places(concurrency: int, prefetch: int) -> int:
    """Attempts that may have begun at one time: all that is held, twice, because a claim and a continuation may take
    the same free places.
    """
    return 2 * (concurrency + prefetch)


class Capacity:
    """Free places for claims and continuations.

    Written by StepSource's thread, read by DurablePublisher's; a stale reading only makes a batch a little larger or
    smaller. While `closed`, when the worker drains, there are none.
    """

    def __init__(self, concurrency: int, prefetch: int) -> None:
        self._concurrency = concurrency
        self._prefetch = prefetch
        self._average_ms: float | None = None
        self.closed = False

    def measure(self, durations_ms: Iterable[float]) -> None:
        """Learn how long steps take from a batch that was committed; until then nothing is fetched ahead."""
        durations = list(durations_ms)
        if not durations:
            return
        latest = sum(durations) / len(durations)
        known = self._average_ms
        self._average_ms = latest if known is None else known + _WEIGHT * (latest - known)

    def busy(self, milliseconds: float) -> None:
        """Learn that every executor has been at one step for so long: steps take at least that now."""
        if self._average_ms is None or self._average_ms < milliseconds:
            self._average_ms = milliseconds

    @property
    def total(self) -> int:
        """Steps this worker may hold now, running ones included."""
        if self.closed:
            return 0
        if self._average_ms is None:
            return self._concurrency
        ahead = int(_HELD_MS / max(self._average_ms, _LEAST_MS) * self._concurrency)
        return self._concurrency + min(self._prefetch, ahead)

    def executors_for(self, ready: int) -> int:
        """Executors that are worth waking for so many ready steps: one for each, or fewer if steps are very short."""
        if self._average_ms is None:
            return ready
        return min(ready, 1 + int(ready * self._average_ms / _WORTH_A_THREAD_MS))

    def free(self, held: int) -> int:
        """Places left beside `held` steps."""
        return max(0, self.total - held)
