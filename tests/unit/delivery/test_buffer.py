"""DropOldestBuffer: what is on its way, also between two threads."""

from __future__ import annotations

from tasker_actors.delivery.buffer import DropOldestBuffer


def buffer(max_count: int = 10) -> DropOldestBuffer[str]:
    return DropOldestBuffer(max_count, 1000, lambda *_: None)


def test_what_was_taken_out_is_on_its_way_until_the_next_is_asked_for_or_it_is_done():
    one = buffer()
    assert one.is_settled

    one.put("first", 1)
    assert not one.is_settled
    assert one.get() == "first"
    assert one.waiting == 0
    assert not one.is_settled

    one.close()
    assert one.get() is None
    assert one.is_settled


def test_what_was_dealt_with_can_be_said_without_asking_for_more():
    one = buffer()
    one.put("first", 1)
    one.get()

    one.done()

    assert one.is_settled


def test_what_was_dropped_is_on_its_way_no_more():
    one = buffer(max_count=1)
    for entry in ("first", "second", "third"):
        one.put(entry, 1)

    assert one.get() == "third"
    one.done()
    assert one.is_settled
