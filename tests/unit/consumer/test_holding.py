"""What is held, and that it stays hidden."""

from __future__ import annotations

import logging

import pytest
from support.waiting import until

from tasker_actors.consumer.holding import Held, VisibilityKeeper
from tasker_actors.errors import DatabaseUnavailableError, TaskerError


class Queue:
    """Keeps what it is told to, as often as it is asked."""

    def __init__(self, *, kept=(), error=None):
        self.kept = kept
        self.error = error
        self.extended = []

    def extend(self, held, seconds):
        self.extended.append((dict(held), seconds))
        if self.error is not None:
            raise self.error
        return self.kept


def holding(*msg_ids):
    held = Held()
    held.take((msg_id, 1) for msg_id in msg_ids)
    return held


def test_what_is_dropped_is_not_held():
    held = holding(1, 2)
    assert held.drop([2, 3]) == [2]
    assert 1 in held
    assert 2 not in held
    assert held.all() == {1: 1}


def test_the_keeper_extends_what_is_held_until_its_block_ends():
    queue = Queue(kept=[1])
    with VisibilityKeeper(queue, holding(1), visibility_timeout_s=0.03):
        until(lambda: len(queue.extended) >= 2)
    count = len(queue.extended)
    assert queue.extended[0] == ({1: 1}, 0.03)
    assert len(queue.extended) == count


def test_nothing_is_asked_of_the_database_while_nothing_is_held():
    queue = Queue()
    VisibilityKeeper(queue, Held(), visibility_timeout_s=30).extend()
    assert queue.extended == []


def test_what_somebody_else_has_read_is_not_held_any_more(caplog):
    held = holding(1, 2)
    VisibilityKeeper(Queue(kept=[2]), held, visibility_timeout_s=30).extend()
    assert held.all() == {2: 1}
    (record,) = caplog.records
    assert record.msg_ids == [1]


@pytest.mark.parametrize(
    ("error", "levels"), [(DatabaseUnavailableError("away"), []), (TaskerError("refused"), [logging.ERROR])]
)
def test_an_extension_that_fails_takes_nothing_away(caplog, error, levels):
    held = holding(1)
    VisibilityKeeper(Queue(error=error), held, visibility_timeout_s=30).extend()
    assert held.all() == {1: 1}
    assert [record.levelno for record in caplog.records] == levels
