"""The bounded queue of what is to be sent to one other process."""

from __future__ import annotations

import threading
import time

from tasker_actors.actors.errors import LinkClosedError, LinkFullError


class Outbox:
    """First in, first out, bounded by packets and by bytes; any thread puts, whoever sends takes everything.

    A packet that is larger than the whole bound is taken when nothing else waits.
    """

    def __init__(self, max_packets: int, max_bytes: int) -> None:
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._work = threading.Condition(self._lock)
        self._packets: list[bytes] = []
        self._bytes = 0
        self._senders_waiting = 0
        self._writer_waiting = False
        self._writer_called = False
        self._closed: str | None = None

    def put(self, packet: bytes, timeout: float, *, wake: bool) -> None:
        """Append a packet; blocks up to `timeout` seconds while there is no room.

        `wake` tells the writer thread about it; without it the caller sends by itself. Raises LinkFullError after the
        time limit, LinkClosedError if the outbox is or gets closed.
        """
        with self._lock:
            if self._closed is None and not self._fits(packet):
                self._wait_for_room(packet, timeout)
            self.check_open()
            self._packets.append(packet)
            self._bytes += len(packet)
            if wake and self._writer_waiting:
                self._work.notify()

    def check_open(self) -> None:
        """Raise LinkClosedError if the outbox is closed."""
        if self._closed is not None:
            message = f"the link is closed: {self._closed}"
            raise LinkClosedError(message)

    def take_all(self) -> list[bytes]:
        """Take what waits, without blocking."""
        with self._lock:
            packets = self._packets
            if packets:
                self._packets = []
                self._bytes = 0
                if self._senders_waiting:
                    self._room.notify_all()
            return packets

    def wait_for_work(self) -> bool:
        """Block until packets wait or the writer is called (True), or until the outbox is closed and empty (False)."""
        with self._lock:
            while not (self._packets or self._writer_called):
                if self._closed is not None:
                    return False
                self._writer_waiting = True
                self._work.wait()
                self._writer_waiting = False
            self._writer_called = False
            return True

    def call_writer(self) -> None:
        """Make the writer thread take over what another sender could not finish."""
        with self._lock:
            self._writer_called = True
            self._work.notify()

    def close(self, reason: str) -> None:
        """Refuse packets from now on; those that wait can still be taken."""
        with self._lock:
            if self._closed is None:
                self._closed = reason
            self._work.notify_all()
            self._room.notify_all()

    def __len__(self) -> int:
        return len(self._packets)

    def _fits(self, packet: bytes) -> bool:
        if not self._packets:
            return True
        return len(self._packets) < self._max_packets and self._bytes + len(packet) <= self._max_bytes

    def _wait_for_room(self, packet: bytes, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self._senders_waiting += 1
        try:
            self._work.notify()
            while self._closed is None and not self._fits(packet):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    message = (
                        f"{len(self._packets)} messages of {self._bytes} bytes wait to be sent and the other process "
                        f"took none for {timeout} s: send less, or raise the queue's limits"
                    )
                    raise LinkFullError(message)
                self._room.wait(remaining)
        finally:
            self._senders_waiting -= 1
