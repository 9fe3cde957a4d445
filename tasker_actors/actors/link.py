"""A two-way stream of packets between two processes, over one end of a socket pair."""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self

import orjson

from tasker_actors.actors.frames import DEFAULT_MAX_FRAME_BYTES, FrameReader, max_packet_bytes, pack, pack_one
from tasker_actors.actors.outbox import Outbox
from tasker_actors.errors import ProtocolError

logger = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024
# Once a tell was sent by its own thread, those that follow within this time go to the writer thread, which sends what
# has gathered as one write: an idle link has the lowest latency, a busy one the highest throughput.
_GATHER_SECONDS = 0.0002


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What one link may hold; both processes must agree on `max_frame_bytes`.

    A sender waits up to `send_timeout_ms` for room in the queue of `max_queued_packets` and `max_queued_bytes`.
    """

    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    max_queued_packets: int = 10_000
    max_queued_bytes: int = 32 * 1024 * 1024
    send_timeout_ms: int = 5_000


class LinkReceiver(Protocol):
    """Who gets what comes over a link; both are called in the link's reader thread."""

    def received(self, link: ProcessLink, packets: list[Any]) -> None:
        """Take the packets of one frame, parsed; ProtocolError closes the link."""

    def closed(self, link: ProcessLink, reason: str, unsent: int) -> None:
        """Take note that the link is closed and that so many packets were never sent."""


_DEFAULT_LIMITS = LinkLimits()
_NOTHING = memoryview(b"")


class ProcessLink:
    """Sends and receives packets; give it to `ActorSystem.add_link`, which starts its two threads.

    `on_close(reason)` is called once, in the reader thread, when the other process is gone or broke the protocol; not
    after `close`. Packets arrive in the order in which they were accepted. A crash of either process loses what was
    not handled yet; what this end had not sent is counted.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        limits: LinkLimits = _DEFAULT_LIMITS,
        on_close: Callable[[str], None] | None = None,
    ) -> None:
        sock.settimeout(None)
        self._socket = sock
        self._limits = limits
        self._max_packet_bytes = max_packet_bytes(limits.max_frame_bytes)
        self._on_close = on_close
        self._outbox = Outbox(limits.max_queued_packets, limits.max_queued_bytes)
        self._sending = threading.Lock()
        self._remainder = _NOTHING
        self._loaded = 0  # packets that the remainder was made of
        self._last_direct_send = 0.0
        self._receiver: LinkReceiver | None = None
        self._is_closing = False
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._writer = threading.Thread(target=self._write, daemon=True)

    @classmethod
    def from_fd(
        cls, fd: int, *, limits: LinkLimits = _DEFAULT_LIMITS, on_close: Callable[[str], None] | None = None
    ) -> Self:
        """Take over the end of a socket pair that the parent process passed to this one (`pass_fds`)."""
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)  # else a grandchild would hold it open, and the parent never see the end
        return cls(sock, limits=limits, on_close=on_close)

    def start(self, receiver: LinkReceiver, peer: str) -> None:
        """Start to read and write; once. `peer` is in the names of the two threads."""
        self._receiver = receiver
        self._reader.name = f"link-reader-{peer}"
        self._writer.name = f"link-writer-{peer}"
        # The writer first: a link that is closed at once makes the reader wait for its end.
        self._writer.start()
        self._reader.start()

    @property
    def is_open(self) -> bool:
        """Whether packets can be sent."""
        return not (self._is_closing or self._closed.is_set())

    @property
    def queued(self) -> int:
        """How many packets wait to be sent."""
        return len(self._outbox)

    def send(self, packet: bytes, *, urgent: bool = False, timeout: float | None = None) -> None:
        """Send a packet, which is one JSON text; returns when it is queued or sent.

        An `urgent` one (an ask or an answer, somebody waits for it) leaves in this thread if the socket takes it.
        Blocks up to `timeout` seconds, by default the link's own limit, while the queue is full; then LinkFullError.
        Raises LinkClosedError once the link is closed, and ProtocolError if the packet is larger than a frame.
        """
        if len(packet) > self._max_packet_bytes:
            message = (
                f"message of {len(packet)} bytes, more than the {self._max_packet_bytes} that fit a frame: "
                "send less, or in parts"
            )
            raise ProtocolError(message)
        self._outbox.check_open()
        direct = urgent or time.monotonic() - self._last_direct_send > _GATHER_SECONDS
        if direct and self._sent_at_once(packet):
            return
        if timeout is None:
            timeout = self._limits.send_timeout_ms / 1000
        self._outbox.put(packet, timeout, wake=not direct)
        if direct:
            self._send_directly()

    def close(self, deadline: float) -> bool:
        """Send what is queued and close; whether all was sent before the `time.monotonic()` deadline.

        Messages that the other process has sent and this one not yet read are lost.
        """
        self._is_closing = True
        self._outbox.close("it was closed here")
        if not self._reader.ident:  # never started
            self._socket.close()
            return not self.queued
        self._writer.join(max(deadline - time.monotonic(), 0.0))
        all_sent = not (self._writer.is_alive() or self.queued or self._remainder)
        self._shut_down()
        if threading.current_thread() is not self._reader:
            self._reader.join(max(deadline - time.monotonic(), 1.0))
        return all_sent

    # Writing

    def _write(self) -> None:
        has_more = True
        while has_more:
            has_more = self._outbox.wait_for_work()
            # Once more after the outbox closed: a direct sender may have left a remainder.
            with self._sending:
                try:
                    while self._load():
                        sent = self._socket.send(self._remainder)
                        self._remainder = self._remainder[sent:]
                except OSError:
                    self._shut_down()  # the reader sees the end and says why
                    return

    def _sent_at_once(self, packet: bytes) -> bool:
        """Send a packet past the queue if nothing is before it and nobody else sends; whether that was done."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            if self._outbox or self._remainder:
                return False
            self._loaded = 1
            self._send_now(pack_one(packet))
        finally:
            self._sending.release()
        if self._outbox:
            self._send_directly()
        return True

    def _send_directly(self) -> None:
        """Send what is queued without waiting; whoever holds the lock sends for those who come meanwhile."""
        while self._outbox and self._sending.acquire(blocking=False):
            try:
                while self._load():
                    if not self._send_now(self._remainder):
                        return
            finally:
                self._sending.release()

    def _send_now(self, data: bytes | memoryview) -> bool:
        """Send as much as the socket takes now, and leave the rest to the writer; whether all was sent."""
        try:
            sent = self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._remainder = memoryview(data)
            self._shut_down()  # the reader sees the end and says why
            return False
        self._last_direct_send = time.monotonic()
        if sent == len(data):
            self._remainder = _NOTHING
            return True
        self._remainder = memoryview(data)[sent:]
        self._outbox.call_writer()
        return False

    def _load(self) -> bool:
        """Take what is queued once all before it is sent; whether there is anything to send.

        Only for the holder of the sending lock, like everything that touches the remainder.
        """
        if not self._remainder:
            packets = self._outbox.take_all()
            self._loaded = len(packets)
            if packets:
                self._remainder = memoryview(pack(packets))
        return bool(self._remainder)

    # Reading

    def _read(self) -> None:
        reason = self._receive_until_end()
        self._closed.set()
        self._outbox.close(reason)
        self._shut_down()  # wakes the writer if it is blocked in a send
        self._writer.join()
        with self._sending:
            unsent = len(self._outbox.take_all()) + (self._loaded if self._remainder else 0)
            with suppress(OSError):  # where somebody closed the descriptor behind our back, that is told below
                self._socket.close()
        self._tell_closed(reason, unsent)

    def _receive_until_end(self) -> str:
        """Deliver frames until the stream ends; returns why it did."""
        frames = FrameReader(self._limits.max_frame_bytes)
        scratch = memoryview(bytearray(_READ_BYTES))
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        try:
            while size := self._wait_and_read(poller, scratch):
                for frame in frames.feed(scratch[:size]):
                    self._deliver(frame)
        except OSError as error:
            return f"the connection broke: {error}"
        except ProtocolError as error:
            return f"the other process broke the protocol: {error}"
        except Exception as error:  # a fault of ours must close the link, not leave it open and deaf
            logger.exception("Received packet could not be handled")
            return f"a received packet could not be handled: {type(error).__name__}: {error}"
        cut = ", in the middle of a frame" if frames.is_inside_frame else ""
        return f"the other process closed the connection{cut}"

    def _wait_and_read(self, poller: select.poll, scratch: memoryview) -> int:
        """Block until bytes arrive and read them; 0 at the end of the stream.

        A thread that blocks in `recv` on a Unix socket is also woken whenever the peer takes something that this end
        sent, to no purpose: that doubles the cost of an ask between two processors. One that polls is not.
        """
        poller.poll()
        return self._socket.recv_into(scratch)

    def _deliver(self, frame: bytes) -> None:
        try:
            packets = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            message = f"frame of {len(frame)} bytes is no JSON: {error}"
            raise ProtocolError(message) from error
        if type(packets) is not list:
            message = f"frame is no array of packets: {packets!r:.60}"
            raise ProtocolError(message)
        assert self._receiver is not None  # noqa: S101 - `start` sets it before this thread runs
        self._receiver.received(self, packets)

    def _tell_closed(self, reason: str, unsent: int) -> None:
        assert self._receiver is not None  # noqa: S101 - `start` sets it before this thread runs
        self._receiver.closed(self, reason, unsent)
        if self._on_close is not None and not self._is_closing:
            try:
                self._on_close(reason)
            except Exception:
                logger.exception("Callback for a closed link failed", extra={"reason": reason})

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other end, or our other thread, was faster
