"""What waits somewhere, bounded in number and in bytes."""

from __future__ import annotations

import threading

TOO_MANY = "too_many"
TOO_LARGE = "too_large"


class Backlog:
    """Counts what came and what went; from any thread.

    A single thing that is larger than the whole bound is let in where nothing else waits: it could never pass
    otherwise.
    """

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0

    @property
    def count(self) -> int:
        """How many wait."""
        return self._count

    def add(self, count: int, size: int) -> str | None:
        """Let in so many of so many bytes together, or say why they do not fit: `too_many` or `too_large`."""
        with self._lock:
            if self._count:
                if self._count + count > self._max_count:
                    return TOO_MANY
                if self._bytes + size > self._max_bytes:
                    return TOO_LARGE
            self._count += count
            self._bytes += size
            return None

    def remove(self, count: int, size: int) -> None:
        """Note that so many went."""
        with self._lock:
            self._count -= count
            self._bytes -= size
