"""The inbox that pykka reads from: a C queue that can also be drained and looked ahead into."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pykka._envelope import Envelope as PykkaEnvelope

    Item: TypeAlias = PykkaEnvelope[Any]  # what pykka puts into an inbox: its own envelope around ours


class Mailbox:
    """First in, first out, unbounded: senders are bounded by credits (DESIGN 2), a full inbox would block a stop.

    Any thread may put; only the actor's own thread gets. `put` is the C queue's own method, so it costs no Python call.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._returned: deque[Item] = deque()
        self.put: Callable[[Item], None] = self._waiting.put

    def get(self) -> Item:
        """Take the oldest item; blocks until there is one."""
        if self._returned:
            return self._returned.popleft()
        return self._waiting.get()

    def empty(self) -> bool:
        """Whether nothing waits at this moment."""
        return not self._returned and self._waiting.empty()

    def depth(self) -> int:
        """How many items wait at this moment; another thread may change it before the caller looks."""
        return len(self._returned) + self._waiting.qsize()

    def take_while(self, wanted: Callable[[Item], bool], limit: int) -> list[Item]:
        """Take up to `limit` waiting items in order, without blocking, and stop in front of the first unwanted one."""
        taken: list[Item] = []
        while len(taken) < limit:
            item = self._take_now()
            if item is None:
                break
            if not wanted(item):
                self._returned.appendleft(item)
                break
            taken.append(item)
        return taken

    def drain(self) -> Iterator[Item]:
        """Take what waits, one by one; safe from several threads at once, each item goes to one of them."""
        while (item := self._take_now()) is not None:
            yield item

    def _take_now(self) -> Item | None:
        try:
            return self._returned.popleft()
        except IndexError:
            pass
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None
