from __future__ import annotations

import threading

from pykka._envelope import Envelope

from tasker_actors.actors.mailbox import Mailbox


def filled(*messages):
    mailbox = Mailbox()
    for message in messages:
        mailbox.put(Envelope(message))
    return mailbox


def test_first_in_first_out():
    mailbox = filled(1, 2, 3)
    assert [mailbox.get().message for _ in range(3)] == [1, 2, 3]
    assert mailbox.empty()


def test_take_while_stops_at_the_limit():
    mailbox = filled(1, 2, 3)
    assert [item.message for item in mailbox.take_while(lambda item: True, 2)] == [1, 2]
    assert mailbox.depth() == 1


def test_take_while_leaves_the_first_unwanted_item_where_it_was():
    mailbox = filled(1, 2, "x", 3)
    assert [item.message for item in mailbox.take_while(lambda item: item.message != "x", 10)] == [1, 2]
    assert mailbox.depth() == 2
    assert not mailbox.empty()
    assert mailbox.take_while(lambda item: item.message != "x", 10) == []
    assert [mailbox.get().message for _ in range(2)] == ["x", 3]


def test_drain_from_two_threads_gives_each_item_to_one():
    mailbox = filled(*range(2000))
    taken: list[int] = []
    threads = [
        threading.Thread(target=lambda: taken.extend(item.message for item in mailbox.drain())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sorted(taken) == list(range(2000))


def test_get_waits_for_a_put():
    mailbox = Mailbox()
    taken: list[object] = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.get().message))
    reader.start()
    mailbox.put(Envelope("late"))
    reader.join(5)
    assert taken == ["late"]
