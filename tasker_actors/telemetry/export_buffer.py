"""A bounded waiting line of what is to be exported."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ExportBuffer(Generic[T]):
    """Items in the order in which they came, each with a weight; not thread-safe, its owner has the lock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[tuple[T, int]] = deque()
        self.weight = 0

    def offer(self, item: T, weight: int) -> bool:
        """Append the item, or return False where it does not fit.

        One that is heavier than the whole limit fits into an empty buffer: it could never be exported otherwise.
        """
        if self._items and self.weight + weight > self._limit:
            return False
        self._items.append((item, weight))
        self.weight += weight
        return True

    def take(self, wanted: int) -> list[T]:
        """Remove and return the oldest items, as many as fit the wanted weight, but at least one if any is there."""
        taken: list[T] = []
        weight = 0
        while self._items and (not taken or weight + self._items[0][1] <= wanted):
            item, own = self._items.popleft()
            taken.append(item)
            weight += own
        self.weight -= weight
        return taken

    def clear(self) -> int:
        """Remove everything and return its weight."""
        weight, self.weight = self.weight, 0
        self._items.clear()
        return weight
