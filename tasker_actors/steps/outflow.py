"""How much of what attempts have published is on its way: what stops new attempts before it fills the memory."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

_EVENT_OVERHEAD_BYTES = 1_500
"""What one event takes in Python beside its message: its objects, ids and names."""


class Sized(Protocol):
    """An event as it is sent."""

    @property
    def message(self) -> bytes:
        """Its JSON."""


def events_size(events: Iterable[Sized]) -> int:
    """Return the memory that events take, in bytes."""
    return sum(len(event.message) + _EVENT_OVERHEAD_BYTES for event in events)


class Outflow:
    """Events from the end of their attempt until they are in the buffers of subscribers, in bytes of memory.

    Handlers may publish faster than the commit, the router and the bus take events on, and none of these may drop what
    was committed. So no attempt begins while `is_full`; those that run may still end, and it goes above its limit by
    what they publish. Any thread may call. After the commit one publisher sends to one router and that to one bus, in
    order, so that it is known what the next message of each brings. `drained` is called when there is room again.
    """

    def __init__(self, max_bytes: int = sys.maxsize, drained: Callable[[], None] = lambda: None) -> None:
        self._max_bytes = max_bytes
        self._drained = drained
        self._lock = threading.Lock()
        self._to_router: deque[int] = deque()
        self._to_bus: deque[int] = deque()
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no attempt may begin."""
        return self.bytes >= self._max_bytes

    def add(self, size: int) -> None:
        """An attempt has ended that publishes so much."""
        if size:
            with self._lock:
                self.bytes += size

    def remove(self, size: int) -> None:
        """So much goes no further: it was not committed, or is where it should be."""
        if size:
            with self._lock:
                was_full = self.is_full
                self.bytes -= size
                has_room_again = was_full and not self.is_full
            if has_room_again:
                self._drained()

    def to_router(self, size: int) -> None:
        """The publisher's next message to the router brings so much."""
        self._to_router.append(size)
        self.add(size)

    def routed(self) -> None:
        """The router has handled the publisher's next message, whatever came of it."""
        self.remove(_next(self._to_router))

    def to_bus(self, size: int) -> None:
        """The router's next message to the bus brings so much."""
        self._to_bus.append(size)
        self.add(size)

    def dispatched(self) -> None:
        """The bus has handled the router's next message, whatever came of it."""
        self.remove(_next(self._to_bus))


def _next(sizes: deque[int]) -> int:
    return sizes.popleft() if sizes else 0
