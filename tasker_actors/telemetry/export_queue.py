"""What waits to be exported of one signal: bounded, and counted where it is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Protocol

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.otlp import Signal
from tasker_actors.telemetry.otlp_requests import requests
from tasker_actors.telemetry.transmission import Transmission

OnDropped = Callable[[int, str], None]
"""Told how many messages were lost, and why."""

TOO_MANY = "too_many"
TOO_LARGE = "too_large"
NOT_DELIVERED = "not_delivered"
"""The collector did not take them in time, or rejected them, or they could not be encoded."""
STOPPED = "stopped"
"""They waited when the process ended its export, or came later."""
DROP_REASONS = (TOO_MANY, TOO_LARGE, NOT_DELIVERED, STOPPED)


class Batch(Protocol):
    """Spans or log records that are not encoded yet."""

    @property
    def count(self) -> int:
        """How many messages `encode` will make, exactly: what is missing counts as lost."""

    @property
    def size(self) -> int:
        """About how many bytes of memory it holds until then."""

    def encode(self) -> Sequence[bytes]:
        """Serialize each message; called once, in the exporter's thread."""


class ExportQueue:
    """`offer` and `close` are for any thread, `export` for the exporter's. `wake` is called when a full request waits.

    It holds up to `limit` messages of up to `max_bytes` together, and sends up to `batch_size` in one request.
    `on_dropped(count, reason)` is told of each loss, outside the lock.

    A handler's time limit may interrupt `offer` wherever Python looks for such exceptions (HAZARDS 35). So the lock is
    one of C, taken by `with`: between a Python `__enter__` and the block that leaves it again there is such a place.
    """

    def __init__(
        self,
        signal: Signal,
        *,
        limit: int,
        max_bytes: int,
        batch_size: int,
        resource: Resource,
        wake: Callable[[], None],
        transmission: Transmission,
        on_dropped: OnDropped,
    ) -> None:
        self._signal = signal
        self._logger = get_logger("tasker_actors.telemetry")
        self._limit = limit
        self._max_bytes = max_bytes
        self._batch_size = batch_size
        self._resource = resource
        self._lock = RLock()
        self._wake = wake
        self._transmission = transmission
        self._on_dropped = on_dropped
        self._items: deque[tuple[InstrumentationScope, Batch, int]] = deque()
        self._waiting = 0
        self._bytes = 0
        self._under_way = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return self._waiting

    @property
    def has_full_request(self) -> bool:
        """Whether enough waits for a request of the full size."""
        return self._waiting >= self._batch_size

    def offer(self, scope: InstrumentationScope, batch: Batch) -> None:
        """Take a batch, or drop it where it does not fit; never waits.

        One that is larger than the whole queue fits into an empty one: it could never be exported otherwise.
        """
        count, size = batch.count, batch.size
        with self._lock:
            before = self._waiting
            refusal = self._refusal(count, size)
            if refusal is None:
                # In this order: nothing can come between them, because no call ends there.
                self._waiting = before + count
                self._bytes += size
                self._items.append((scope, batch, size))
        if refusal is not None:
            self._on_dropped(count, refusal)
        elif before < self._batch_size <= before + count:
            self._wake()

    def _refusal(self, count: int, size: int) -> str | None:
        """Say why a batch finds no room, None if it does."""
        if self._closed:
            return STOPPED
        if self._items and self._waiting + count > self._limit:
            return TOO_MANY
        if self._items and self._bytes + size > self._max_bytes:
            return TOO_LARGE
        return None

    def export(self, *, everything: bool) -> int:
        """Send the oldest of what waits, as much as fits one request; return how much that was, lost or not.

        Without `everything` only a full request is sent. A batch that is larger goes in several.
        """
        taken, items = self._take(1 if everything else self._batch_size)
        lost = taken  # whatever is raised on the way
        try:
            messages = self._encoded(items)
            for begin in range(0, len(messages), self._batch_size):
                for body, count in requests(self._resource, messages[begin : begin + self._batch_size]):
                    sent = self._transmission.deliver(self._signal, body)
                    lost -= 0 if sent is None else count - min(sent.rejected, count)
        finally:
            with self._lock:
                closed = self._closed  # which counted all that was under way as lost
                self._under_way = 0
            if lost > 0 and not closed:
                self._on_dropped(lost, NOT_DELIVERED)
        return taken

    def close(self) -> None:
        """Drop and count what waits or is under way, and everything that is offered from now on."""
        with self._lock:
            self._closed = True
            lost, self._waiting, self._under_way, self._bytes = self._waiting + self._under_way, 0, 0, 0
            self._items.clear()
        if lost:
            self._on_dropped(lost, STOPPED)

    def abandon(self) -> None:
        """In the child of a fork: forget everything without counting it, under a lock that nobody holds."""
        self._lock = RLock()
        self._closed = True
        self._items.clear()
        self._waiting = self._under_way = self._bytes = 0
        self._on_dropped = _ignore

    def _take(self, least: int) -> tuple[int, list[tuple[InstrumentationScope, Batch]]]:
        """Remove the oldest batches, as many as fit one request, but at least one; none if fewer than `least` wait.

        Comes with the number of their messages.
        """
        with self._lock:
            taken: list[tuple[InstrumentationScope, Batch]] = []
            count = 0
            if self._waiting < least:
                return count, taken
            while self._items and (not taken or count + self._items[0][1].count <= self._batch_size):
                scope, batch, size = self._items.popleft()
                taken.append((scope, batch))
                count += batch.count
                self._bytes -= size
            self._waiting -= count
            self._under_way = count
            return count, taken

    def _encoded(self, items: Sequence[tuple[InstrumentationScope, Batch]]) -> list[tuple[InstrumentationScope, bytes]]:
        messages: list[tuple[InstrumentationScope, bytes]] = []
        for scope, batch in items:
            try:
                messages += [(scope, message) for message in batch.encode()]
            except Exception as error:  # a user's value can be anything; it costs its batch, not the thread
                self._logger.error(
                    "A batch could not be encoded", signal=self._signal.value, lost=batch.count, exc_info=error
                )
        return messages


def _ignore(_count: int, _reason: str) -> None:
    """Count nothing: the parent does."""
