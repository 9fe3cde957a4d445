"""Counts what one signal of this process lost, and tells whoever shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Lock


class DropCounter:
    """For any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._earlier: Counter[str] = Counter()
        self._on_dropped: Callable[[int, str], None] | None = None

    @property
    def count(self) -> int:
        """How much was lost so far."""
        return self._count

    def add(self, count: int, reason: str) -> None:
        """Count a loss."""
        with self._lock:
            self._count += count
            self._earlier[reason] += count
            on_dropped = self._on_dropped
        if on_dropped is not None:
            on_dropped(count, reason)

    def tell(self, on_dropped: Callable[[int, str], None]) -> None:
        """Call `on_dropped(count, reason)` for each loss, at once for earlier ones; in the thread that loses."""
        with self._lock:
            self._on_dropped = on_dropped
            earlier = dict(self._earlier)
        for reason, count in earlier.items():
            on_dropped(count, reason)
