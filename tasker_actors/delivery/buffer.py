"""A bounded buffer that drops its oldest entry when it is full (SPEC 2 rule 4)."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Generic, TypeVar

_Entry = TypeVar("_Entry")


class DropOldestBuffer(Generic[_Entry]):
    """Entries on their way from the bus's thread to another one; `drops` is called with how many were dropped."""

    def __init__(self, size: int, drops: Callable[[int], None]) -> None:
        self._size = size
        self._drops = drops
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()

    def put(self, entry: _Entry) -> None:
        """Take an entry; never blocks. For one thread."""
        dropped = 0
        while self._entries.qsize() >= self._size:
            try:
                self._entries.get_nowait()
                dropped += 1
            except queue.Empty:
                break
        if dropped:
            self._drops(dropped)
        self._entries.put(entry)

    def get(self) -> _Entry | None:
        """Take the oldest entry out, waiting for one; None once `close` was called and nothing is left."""
        return self._entries.get()

    def close(self) -> None:
        """Let `get` return None after what is buffered now; nothing may be put in any more."""
        self._entries.put(None)

    @property
    def waiting(self) -> int:
        """Entries in the buffer."""
        return self._entries.qsize()
