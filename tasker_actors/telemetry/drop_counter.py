"""Counts what one signal of this process lost, and tells whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class DropCounter:
    """For any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._on_dropped: Callable[[int], None] | None = None

    @property
    def count(self) -> int:
        """How much was lost so far."""
        return self._count

    def add(self, count: int) -> None:
        """Count a loss."""
        with self._lock:
            self._count += count
            on_dropped = self._on_dropped
        if on_dropped is not None:
            on_dropped(count)

    def tell(self, on_dropped: Callable[[int], None]) -> None:
        """Call `on_dropped(count)` for each loss, at once for earlier ones; in the thread that loses."""
        with self._lock:
            self._on_dropped = on_dropped
            earlier = self._count
        if earlier:
            on_dropped(earlier)
