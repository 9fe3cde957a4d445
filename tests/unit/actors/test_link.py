"""One link over a real socket pair, whose other end the test holds bare."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

import orjson
import pytest

from tasker_actors.actors import LinkClosedError, LinkFullError, LinkLimits, ProcessLink
from tasker_actors.errors import ProtocolError


class Receiver:
    """Keeps what a link delivers."""

    def __init__(self):
        self.packets = []
        self.ends = []
        self.error = None

    def received(self, link, packets):
        if self.error is not None:
            raise self.error
        self.packets += packets

    def closed(self, link, reason, unsent):
        self.ends.append((reason, unsent))


class Ends:
    """A started link, its receiver, what `on_close` said, and the bare other end."""

    def __init__(self, limits):
        ours, self.peer = socket.socketpair()
        self.peer.settimeout(10)
        self.receiver = Receiver()
        self.reasons = []
        self.link = ProcessLink(ours, limits=limits, on_close=self.reasons.append)
        self.link.start(self.receiver, "peer")

    def read_packets(self, count):
        packets = []
        stream = self.peer.makefile("rb")
        while len(packets) < count:
            length = int.from_bytes(stream.read(4), "big")
            packets += orjson.loads(stream.read(length))
        return packets


@pytest.fixture
def ends(request):
    made = Ends(getattr(request, "param", LinkLimits()))
    yield made
    made.peer.close()
    made.link.close(time.monotonic() + 5)


def frame(body):
    return len(body).to_bytes(4, "big") + body


def fill(ends):
    """Send until neither the socket nor the queue takes more; returns how many packets were taken."""
    taken = 0
    while True:
        try:
            ends.link.send(b'"%s"' % (b"x" * 1000), timeout=0.05)
        except LinkFullError:
            return taken
        taken += 1


def test_sends_frames_of_json_arrays_in_order(ends):
    for number in range(1000):
        ends.link.send(b"%d" % number, urgent=number % 3 == 0)
    assert ends.read_packets(1000) == list(range(1000))


def test_packets_of_many_threads_arrive_whole_and_each_threads_in_order(ends):
    def send(thread):
        for number in range(300):
            ends.link.send(orjson.dumps([thread, number]), urgent=number % 2 == 0)

    threads = [threading.Thread(target=send, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    packets = ends.read_packets(1800)
    for thread in threads:
        thread.join(10)
    for thread in range(6):
        assert [number for sender, number in packets if sender == thread] == list(range(300))


def test_delivers_frames_that_arrive_in_pieces(ends, until):
    data = frame(b"[1,2]") + frame(b"[3]")
    for index in range(len(data)):
        ends.peer.sendall(data[index : index + 1])
    until(lambda: ends.receiver.packets == [1, 2, 3])


def test_large_packets_go_through_both_ways(ends, until):
    text = "x" * (8 * 1024 * 1024)
    sender = threading.Thread(target=ends.link.send, args=(orjson.dumps(text),))
    sender.start()
    assert ends.read_packets(1) == [text]
    sender.join(5)
    ends.peer.sendall(frame(orjson.dumps([text])))
    until(lambda: ends.receiver.packets == [text])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(b"not json"), "is no JSON"),
        (frame(b'{"a": 1}'), "is no array of packets"),
        (frame(b""), "is no JSON"),
        (frame(b"\x80\x04K\x01."), "is no JSON"),
        (frame(b"[" * 100_000), "is no JSON"),
        (b"\xff\xff\xff\xff", "frame of 4294967295 bytes, more than the 16777216 allowed"),
    ],
)
def test_garbage_closes_the_link_and_says_why(ends, until, data, reason):
    ends.peer.sendall(data)
    until(lambda: ends.reasons)
    assert ends.reasons[0].startswith("the other process broke the protocol: ")
    assert reason in ends.reasons[0]
    assert ends.receiver.ends == [(ends.reasons[0], 0)]
    assert not ends.link.is_open
    with pytest.raises(LinkClosedError, match="broke the protocol"):
        ends.link.send(b"1")
    assert ends.peer.recv(10) == b""


def test_a_receiver_that_fails_closes_the_link(ends, until):
    ends.receiver.error = ZeroDivisionError("bug")
    ends.peer.sendall(frame(b"[1]"))
    until(lambda: ends.reasons)
    assert ends.reasons == ["a received packet could not be handled: ZeroDivisionError: bug"]


def test_the_end_of_the_peer_closes_the_link_once(ends, until):
    ends.peer.sendall(frame(b"[1]") + b"\x00\x00")
    ends.peer.close()
    until(lambda: ends.reasons)
    assert ends.receiver.packets == [1]
    assert ends.reasons == ["the other process closed the connection, in the middle of a frame"]
    assert len(ends.receiver.ends) == 1
    assert not ends.link._writer.is_alive()


def test_a_callback_that_fails_ends_nothing_else(ends, until):
    ends.link._on_close = lambda reason: 1 / 0
    ends.peer.close()
    ends.link._reader.join(5)
    assert len(ends.receiver.ends) == 1


@pytest.mark.parametrize("ends", [LinkLimits(max_frame_bytes=100)], indirect=True)
def test_a_packet_larger_than_a_frame_is_refused_and_the_link_lives(ends):
    ends.link.send(b'"%s"' % (b"x" * 96))
    with pytest.raises(ProtocolError, match="message of 99 bytes, more than the 98 that fit a frame"):
        ends.link.send(b'"%s"' % (b"x" * 97))
    ends.link.send(b"1")
    assert ends.read_packets(2) == ["x" * 96, 1]


SMALL = LinkLimits(max_queued_packets=10, send_timeout_ms=50)


@pytest.mark.parametrize("ends", [SMALL], indirect=True)
def test_a_peer_that_does_not_read_blocks_senders_up_to_the_limit(ends):
    taken = fill(ends)
    began = time.monotonic()
    with pytest.raises(LinkFullError, match=r"took none for 0.05 s"):
        ends.link.send(b'"more"')
    assert 0.05 <= time.monotonic() - began < 2
    assert ends.link.queued == 10
    assert len(ends.read_packets(taken)) == taken
    ends.link.send(b'"more"')
    assert ends.read_packets(1) == ["more"]


@pytest.mark.parametrize("ends", [SMALL], indirect=True)
def test_what_was_not_sent_when_the_peer_vanished_is_counted(ends, until):
    taken = fill(ends)
    ends.peer.close()
    until(lambda: ends.receiver.ends)
    _, unsent = ends.receiver.ends[0]
    assert 10 < unsent <= taken  # the queue of ten, and what the writer had taken out of it


def test_close_sends_what_is_queued(ends):
    for number in range(2000):
        ends.link.send(b"%d" % number)
    assert ends.link.close(time.monotonic() + 5)
    assert ends.read_packets(2000) == list(range(2000))
    assert ends.peer.recv(10) == b""
    assert ends.reasons == []


def test_close_sends_what_a_sender_that_it_overtook_could_not_finish(ends, until):
    closer = threading.Thread(target=ends.link.close, args=(time.monotonic() + 5,))
    with ends.link._sending:
        closer.start()
        until(lambda: ends.link._outbox._closed)
        ends.link._remainder, ends.link._loaded = memoryview(frame(b"[1]")), 1
    assert ends.read_packets(1) == [1]
    closer.join(5)


@pytest.mark.parametrize("ends", [SMALL], indirect=True)
def test_close_keeps_its_deadline_when_the_peer_does_not_read(ends):
    fill(ends)
    began = time.monotonic()
    assert not ends.link.close(began + 0.1)
    assert time.monotonic() - began < 2
    assert not ends.link._writer.is_alive()
    assert not ends.link._reader.is_alive()
    assert ends.receiver.ends[0][1] > 0
    with pytest.raises(LinkClosedError):
        ends.link.send(b"1")


def test_closing_twice_and_before_the_start_is_harmless(ends):
    assert ends.link.close(time.monotonic() + 5)
    assert ends.link.close(time.monotonic() + 5)
    ours, theirs = socket.socketpair()
    assert ProcessLink(ours).close(time.monotonic() + 5)
    assert theirs.recv(1) == b""
    theirs.close()


def test_the_end_of_a_link_can_be_passed_on_as_a_number_and_is_not_inherited():
    ours, theirs = socket.socketpair()
    ours.set_inheritable(True)
    link = ProcessLink.from_fd(ours.detach())
    assert not link._socket.get_inheritable()
    link.start(Receiver(), "peer")
    link.send(b"1")
    assert theirs.recv(100) == frame(b"[1]")
    link.close(time.monotonic() + 5)
    theirs.close()


def test_a_descriptor_that_is_closed_behind_its_back_closes_the_link(ends, until):
    """As `os.closerange` in a handler does; the other process's next message shows it."""
    os.close(ends.link._socket.fileno())
    with suppress(BrokenPipeError):
        ends.peer.sendall(b"\0\0\0\2[]")

    until(lambda: ends.reasons)
    assert "Bad file descriptor" in ends.reasons[0]
    assert [reason for reason, _ in ends.receiver.ends] == ends.reasons
    assert not ends.link.is_open
