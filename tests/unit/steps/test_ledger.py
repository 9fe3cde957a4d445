"""The ledger: every held step has one stage, and one result, whoever gets there first (DESIGN 3 rule 8)."""

from __future__ import annotations

import threading

import pytest
from support.leases import finish, leased

from tasker_actors.steps.ledger import Ledger, LedgerItem, Stage


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def begun(ledger: Ledger, executor: int = 0) -> LedgerItem:
    """A new step that runs."""
    step = leased()
    ledger.add([step])
    item = ledger.begin(step.token, executor, 1.0)
    assert item is not None
    return item


def test_a_step_goes_from_waiting_to_committing(ledger: Ledger):
    step = leased()
    ledger.add([step])
    stages = [ledger.items()[0].stage]
    item = ledger.begin(step.token, 3, 7.0)
    assert item is not None
    stages.append(item.stage)
    result = finish(step)
    assert ledger.finish(item, result)
    stages.append(item.stage)
    assert ledger.committing([step.token]) == [item]
    stages.append(item.stage)

    assert stages == [Stage.WAITING, Stage.RUNNING, Stage.FINISHED, Stage.COMMITTING]
    assert (item.executor, item.began_at, item.finished) == (3, 7.0, result)
    assert ledger.remove([step.token]) == [item]
    assert (len(ledger), ledger.get(step.token)) == (0, None)


def test_a_step_begins_once_and_only_if_it_is_held(ledger: Ledger):
    item = begun(ledger)

    assert ledger.begin(item.step.token, 1, 2.0) is None
    assert ledger.begin(leased().token, 1, 2.0) is None
    assert item.executor == 0


def test_an_attempt_has_one_result_even_if_two_finish_it(ledger: Ledger):
    item = begun(ledger)
    first, second = finish(item.step), finish(item.step)

    assert (ledger.finish(item, first), ledger.finish(item, second)) == (True, False)
    assert item.finished is first


def test_of_two_threads_that_finish_an_attempt_one_wins(ledger: Ledger):
    items = [begun(ledger) for _ in range(200)]
    results = [(finish(item.step), finish(item.step)) for item in items]
    together = threading.Barrier(2)
    won: list[list[bool]] = [[], []]

    def run(side: int) -> None:
        together.wait()
        won[side].extend(ledger.finish(item, pair[side]) for item, pair in zip(items, results, strict=True))

    threads = [threading.Thread(target=run, args=(side,)) for side in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [one + other for one, other in zip(*won, strict=True)] == [1] * 200
    assert all(item.finished is pair[other] for item, pair, other in zip(items, results, won[1], strict=True))


def test_a_result_is_sent_to_the_commit_once(ledger: Ledger):
    item = begun(ledger)
    running = begun(ledger)
    ledger.finish(item, finish(item.step))
    tokens = [item.step.token, running.step.token, -1]

    assert (ledger.committing(tokens), ledger.committing(tokens)) == ([item], [])


def test_the_result_of_a_step_that_was_let_go_does_not_count(ledger: Ledger):
    item = begun(ledger)
    ledger.remove([item.step.token])

    assert not ledger.finish(item, finish(item.step))


def test_what_has_not_begun_is_taken_to_be_returned_and_cannot_begin_any_more(ledger: Ledger):
    running, waiting = begun(ledger), leased()
    ledger.add([waiting])

    assert [item.step for item in ledger.take_waiting()] == [waiting]
    assert ledger.take_waiting() == []
    assert ledger.begin(waiting.token, 0, 1.0) is None
    assert running.stage is Stage.RUNNING
    assert len(ledger) == 2  # both are held until the commit


def test_a_running_step_that_is_given_up_has_no_result_and_its_handler_is_told(ledger: Ledger):
    item = begun(ledger)
    assert not item.is_set()

    assert ledger.give_up_running() == [item]

    assert item.is_set()
    assert not ledger.finish(item, finish(item.step))


def test_handlers_of_cancelled_leases_are_told_and_no_others(ledger: Ledger):
    cancelled, other = begun(ledger), begun(ledger)

    ledger.cancel([cancelled.step.token, -1])

    assert (cancelled.is_set(), other.is_set()) == (True, False)


def test_items_are_listed_by_stage(ledger: Ledger):
    waiting = leased()
    ledger.add([waiting])
    running = begun(ledger)

    assert [item.step for item in ledger.items(Stage.WAITING)] == [waiting]
    assert ledger.items(Stage.RUNNING) == [running]
    assert len(ledger.items()) == len(ledger.items(Stage.WAITING, Stage.RUNNING)) == 2


def test_the_ledger_tells_when_it_is_empty(ledger: Ledger):
    assert ledger.emptied.is_set()
    item = begun(ledger)
    assert not ledger.emptied.is_set()
    ledger.remove([-1])
    assert not ledger.emptied.is_set()
    ledger.remove([item.step.token])
    assert ledger.emptied.is_set()
    ledger.add([])
    assert ledger.emptied.is_set()


def test_the_bytes_of_what_is_held_are_those_of_its_input(ledger: Ledger):
    steps = [leased(context={"text": "x" * 1000}), leased()]
    ledger.add(steps)

    assert ledger.bytes() == sum(step.bytes for step in steps) == len('{"text":""}') + 1000 + 2


def test_what_was_cancelled_before_it_began_never_begins(ledger: Ledger):
    waiting = leased()
    ledger.add([waiting])

    ledger.cancel([waiting.token])

    assert (ledger.begin(waiting.token, 0, 1.0), len(ledger), ledger.emptied.is_set()) == (None, 0, True)


def test_a_cancellation_that_comes_before_the_reply_of_its_claim_counts(ledger: Ledger):
    """The server answers a claim, then a cancel; the news of the second may be here first."""
    early, other = leased(), leased()
    ledger.cancel([early.token])

    ledger.add([early, other])

    assert [item.step for item in ledger.items()] == [other]
    ledger.add([early])  # only once: it is remembered no longer
    assert len(ledger) == 2


def test_only_the_newest_cancellations_are_remembered(ledger: Ledger):
    oldest, newest = leased(), leased()
    ledger.cancel([oldest.token])
    ledger.cancel(range(-1, -1001, -1))
    ledger.cancel([newest.token])

    ledger.add([oldest, newest])

    assert [item.step for item in ledger.items()] == [oldest]


def test_the_oldest_step_that_only_has_to_be_committed_is_told(ledger: Ledger):
    assert ledger.oldest_with_result() is None
    ledger.add([leased()])
    begun(ledger)
    finished, later = begun(ledger), begun(ledger)
    assert ledger.oldest_with_result() is None
    for item in (later, finished):
        ledger.finish(item, finish(item.step))
    assert ledger.oldest_with_result() == finished.step.token
    ledger.committing([finished.step.token])
    assert ledger.oldest_with_result() == finished.step.token
    ledger.remove([finished.step.token])
    assert ledger.oldest_with_result() == later.step.token


# Rule 3: who may have caused the death of this process


class Block:
    """Stands for the slot's memory block."""

    def __init__(self, places: int) -> None:
        self.begun = [0] * places


def test_an_attempt_is_among_those_that_have_begun_until_it_is_let_go():
    block = Block(4)
    ledger = Ledger(block)
    waiting = leased()
    ledger.add([waiting])
    first, second = begun(ledger), begun(ledger)
    tokens = {first.step.token, second.step.token}
    assert {*block.begun} == {0, *tokens}

    ledger.finish(first, finish(first.step))
    ledger.committing([first.step.token])
    ledger.give_up_running()
    assert {*block.begun} == {0, *tokens}
    assert ledger.has_begun()

    ledger.remove([first.step.token, waiting.token])
    assert {*block.begun} == {0, second.step.token}
    ledger.remove([second.step.token])
    assert (block.begun, ledger.has_begun()) == ([0] * 4, False)


def test_the_places_of_those_that_were_let_go_are_used_again():
    block = Block(2)
    ledger = Ledger(block)
    for _ in range(5):
        one, other = begun(ledger), begun(ledger)
        assert {*block.begun} == {one.step.token, other.step.token}
        ledger.remove([one.step.token, other.step.token])
