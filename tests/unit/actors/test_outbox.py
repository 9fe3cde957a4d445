from __future__ import annotations

import threading
import time

import pytest

from tasker_actors.actors.errors import LinkClosedError, LinkFullError
from tasker_actors.actors.outbox import Outbox


def test_gives_everything_in_order():
    outbox = Outbox(10, 1000)
    for packet in (b"1", b"2", b"3"):
        outbox.put(packet, 0, wake=True)
    assert len(outbox) == 3
    assert outbox.take_all() == [b"1", b"2", b"3"]
    assert outbox.take_all() == []


@pytest.mark.parametrize(("packets", "octets"), [(2, 1000), (1000, 2)])
def test_is_full_by_packets_or_by_bytes(packets, octets):
    outbox = Outbox(packets, octets)
    outbox.put(b"1", 0, wake=True)
    outbox.put(b"2", 0, wake=True)
    with pytest.raises(LinkFullError, match="2 messages of 2 bytes wait"):
        outbox.put(b"3", 0, wake=True)
    assert outbox.take_all() == [b"1", b"2"]
    outbox.put(b"3", 0, wake=True)


def test_takes_a_packet_larger_than_its_bound_when_it_is_empty():
    outbox = Outbox(10, 2)
    outbox.put(b"large", 0, wake=True)
    with pytest.raises(LinkFullError):
        outbox.put(b"1", 0, wake=True)


def test_a_sender_waits_for_room_and_then_goes_on(until):
    outbox = Outbox(1, 1000)
    outbox.put(b"1", 0, wake=True)
    sender = threading.Thread(target=outbox.put, args=(b"2", 5), kwargs={"wake": True})
    sender.start()
    until(lambda: outbox._senders_waiting == 1)
    assert outbox.take_all() == [b"1"]
    sender.join(5)
    assert outbox.take_all() == [b"2"]


def test_a_sender_gives_up_after_its_time_limit():
    outbox = Outbox(1, 1000)
    outbox.put(b"1", 0, wake=True)
    began = time.monotonic()
    with pytest.raises(LinkFullError, match=r"took none for 0.05 s"):
        outbox.put(b"2", 0.05, wake=True)
    assert 0.05 <= time.monotonic() - began < 2


def test_closing_wakes_a_waiting_sender_and_the_writer(until):
    outbox = Outbox(1, 1000)
    outbox.put(b"1", 0, wake=True)
    caught = []

    def send():
        with pytest.raises(LinkClosedError, match="peer gone") as error:
            outbox.put(b"2", 60, wake=True)
        caught.append(error.value)

    sender = threading.Thread(target=send)
    sender.start()
    until(lambda: outbox._senders_waiting == 1)
    outbox.close("peer gone")
    sender.join(5)
    assert len(caught) == 1
    assert outbox.wait_for_work()
    assert outbox.take_all() == [b"1"]
    assert not outbox.wait_for_work()


def test_the_writer_wakes_for_a_packet_and_for_a_call(until):
    outbox = Outbox(10, 1000)
    woken = []

    def write():
        while outbox.wait_for_work():
            woken.append(outbox.take_all())

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: outbox._writer_waiting)
    outbox.put(b"1", 0, wake=True)
    until(lambda: woken == [[b"1"]])
    outbox.call_writer()
    until(lambda: woken == [[b"1"], []])
    outbox.close("done")
    writer.join(5)
    assert not writer.is_alive()
