"""A bounded buffer that drops its oldest entry when it is full (SPEC 2 rule 4)."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Generic, TypeVar

from tasker_actors.delivery.backlog import TOO_LARGE, TOO_MANY

_Entry = TypeVar("_Entry")

Drops = Callable[[int, str], None]
"""Told how many entries were dropped, and why: `too_many` or `too_large`."""


class DropOldestBuffer(Generic[_Entry]):
    """Entries on their way from the bus's thread to another one, `max_count` of them and `max_bytes` together.

    An entry that is larger than that is taken when nothing else waits.
    """

    def __init__(self, max_count: int, max_bytes: int, drops: Drops) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._drops = drops
        self._entries: queue.SimpleQueue[tuple[_Entry, int] | None] = queue.SimpleQueue()
        # Each is written by one thread alone, so that neither needs a lock.
        self._put_bytes = 0
        self._got_bytes = 0
        self._put_count = 0
        self._got_count = 0
        self._done_count = 0

    def put(self, entry: _Entry, size: int) -> None:
        """Take an entry of so many bytes; never blocks. For one thread."""
        if self._entries.qsize() and self._is_full(size):
            self._drop_oldest(size)
        self._put_bytes += size
        self._put_count += 1
        self._entries.put((entry, size))

    def _is_full(self, size: int) -> bool:
        return self._entries.qsize() >= self._max_count or self._put_bytes - self._got_bytes + size > self._max_bytes

    def _drop_oldest(self, size: int) -> None:
        """Make room for an entry of so many bytes."""
        too_many = too_large = 0
        while (waiting := self._entries.qsize()) > 0 and self._is_full(size):
            try:
                oldest = self._entries.get_nowait()
            except queue.Empty:
                break
            if oldest is not None:
                self._put_bytes -= oldest[1]
                self._put_count -= 1
            too_many += waiting >= self._max_count
            too_large += waiting < self._max_count
        if too_many:
            self._drops(too_many, TOO_MANY)
        if too_large:
            self._drops(too_large, TOO_LARGE)

    def get(self) -> _Entry | None:
        """Take the oldest entry out, waiting for one; None once `close` was called and nothing is left.

        The one before it has been dealt with.
        """
        self.done()
        found = self._entries.get()
        if found is None:
            return None
        entry, size = found
        self._got_bytes += size
        self._got_count += 1
        return entry

    def done(self) -> None:
        """Note that what was taken out last has been dealt with."""
        self._done_count = self._got_count

    def close(self) -> None:
        """Let `get` return None after what is buffered now; nothing may be put in any more."""
        self._entries.put(None)

    @property
    def waiting(self) -> int:
        """Entries in the buffer."""
        return self._entries.qsize()

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits here, and nothing that was taken out is still to be dealt with.

        Counted, because between the moment at which an entry leaves the queue and the one at which the other thread
        could say so, any other thread may run.
        """
        return self._put_count == self._done_count
