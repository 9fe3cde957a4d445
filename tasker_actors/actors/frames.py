"""Frames on a byte stream: four bytes of length, big-endian, then a JSON array of packets."""

from __future__ import annotations

from collections.abc import Sequence

from tasker_actors.errors import ProtocolError

DEFAULT_MAX_FRAME_BYTES = 16 * 1024 * 1024

_HEADER_BYTES = 4
# Where a batch is cut: one frame is read, checked and delivered as a whole, so a huge one would only add latency.
_TARGET_FRAME_BYTES = 256 * 1024


def pack(packets: Sequence[bytes]) -> bytes:
    """Put packets, each a JSON text, into as few frames as are sensible, in order.

    A packet alone is at most one frame, so whoever accepts packets bounds them with `max_packet_bytes`.
    """
    frames: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for packet in packets:
        if waiting and size + len(packet) > _TARGET_FRAME_BYTES:
            frames += _frame(waiting, size)
            waiting, size = [], 0
        waiting.append(packet)
        size += len(packet) + 1
    if waiting:
        frames += _frame(waiting, size)
    return b"".join(frames)


def pack_one(packet: bytes) -> bytes:
    """Put one packet into a frame."""
    return b"%b[%b]" % ((len(packet) + 2).to_bytes(_HEADER_BYTES, "big"), packet)


def max_packet_bytes(max_frame_bytes: int) -> int:
    """Return the size of the largest packet that fits a frame."""
    return max_frame_bytes - len(b"[]")


def _frame(packets: list[bytes], size: int) -> tuple[bytes, bytes, bytes, bytes]:
    length = size - 1 + len(b"[]")  # one comma fewer than packets
    return length.to_bytes(_HEADER_BYTES, "big"), b"[", b",".join(packets), b"]"


class FrameReader:
    """Cuts a byte stream into frames, however it was cut into reads."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Return the frames that are complete with these bytes, without their lengths.

        Raises ProtocolError as soon as a length is above the limit, before any of that frame is kept.
        """
        buffer = self._buffer
        if not buffer and _HEADER_BYTES < len(data) <= _HEADER_BYTES + self._max_frame_bytes:
            length = int.from_bytes(data[:_HEADER_BYTES], "big")
            if len(data) == _HEADER_BYTES + length:
                return [bytes(data[_HEADER_BYTES:])]  # one whole frame in one read, as most asks and answers are
        buffer += data
        frames: list[bytes] = []
        start = 0
        while len(buffer) - start >= _HEADER_BYTES:
            length = int.from_bytes(buffer[start : start + _HEADER_BYTES], "big")
            if length > self._max_frame_bytes:
                message = f"frame of {length} bytes, more than the {self._max_frame_bytes} allowed"
                raise ProtocolError(message)
            end = start + _HEADER_BYTES + length
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                frames.append(bytes(view[start + _HEADER_BYTES : end]))
            start = end
        del buffer[:start]
        return frames

    @property
    def is_inside_frame(self) -> bool:
        """Whether the stream has begun a frame that is not complete."""
        return bool(self._buffer)
