"""Outflow: what is on its way is bounded, and is known whatever becomes of it."""

from __future__ import annotations

import pytest
from support.leases import event, finish, leased

from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.ledger import Ledger
from tasker_actors.steps.outflow import Outflow, events_size

LIMIT = 2_000


@pytest.fixture
def drained() -> list[int]:
    return []


@pytest.fixture
def outflow(drained: list[int]) -> Outflow:
    return Outflow(LIMIT, lambda: drained.append(1))


def publishing() -> FinishedStep:
    return finish(leased(publishes_events=[event("a.b", "fast"), event("a.c", "durable")]))


def hold(ledger: Ledger, finished: FinishedStep) -> None:
    ledger.add([finished.step])
    item = ledger.begin(finished.step.token, 0, 0.0)
    assert item is not None
    assert ledger.finish(item, finished)


def test_an_event_counts_with_its_message_and_what_python_needs_for_it():
    events = publishing().derived.events

    assert events_size(events) > sum(len(each.message) for each in events) + 2 * 1_000
    assert events_size(()) == 0


def test_it_is_full_from_its_limit_on_and_tells_once_that_there_is_room_again(outflow: Outflow, drained: list[int]):
    outflow.add(LIMIT - 1)
    assert not outflow.is_full
    outflow.add(LIMIT)
    assert outflow.is_full

    outflow.remove(LIMIT - 1)
    assert (outflow.is_full, drained) == (True, [])
    outflow.remove(1)
    assert (outflow.is_full, drained) == (False, [1])
    outflow.remove(LIMIT - 1)
    assert (outflow.bytes, drained) == (0, [1])


def test_what_ended_is_on_its_way_until_the_ledger_lets_go_of_it(outflow: Outflow, drained: list[int]):
    ledger, finished = Ledger(None, outflow), publishing()
    hold(ledger, finished)
    assert outflow.bytes == events_size(finished.derived.events)
    assert outflow.is_full

    ledger.committing([finished.step.token])
    ledger.remove([finished.step.token])
    assert (outflow.bytes, drained) == (0, [1])


def test_a_result_that_comes_too_late_is_not_on_its_way(outflow: Outflow):
    ledger, finished = Ledger(None, outflow), publishing()
    ledger.add([finished.step])
    item = ledger.begin(finished.step.token, 0, 0.0)
    assert item is not None
    ledger.give_up_running()

    assert not ledger.finish(item, finished)
    assert outflow.bytes == 0


def test_messages_bring_their_part_in_order_to_router_and_bus(outflow: Outflow):
    outflow.to_router(100)
    outflow.to_router(0)
    outflow.to_router(30)
    outflow.to_bus(7)
    outflow.routed()
    assert outflow.bytes == 37
    outflow.routed()
    assert outflow.bytes == 37
    outflow.to_bus(5)
    outflow.routed()
    outflow.dispatched()
    assert outflow.bytes == 5
    outflow.dispatched()
    assert outflow.bytes == 0


def test_a_message_that_nobody_announced_brings_nothing(outflow: Outflow):
    outflow.routed()
    outflow.dispatched()

    assert outflow.bytes == 0
