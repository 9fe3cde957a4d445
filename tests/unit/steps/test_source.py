"""StepSource in a real actor system: credits, dispatch, suspects, extensions and the drain.

DESIGN 2 (credits), and of DESIGN 3 rule 3 (suspects run alone), 8 (the ledger), 9 (extend first), 10 and 15.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from support.feeding import AWAY, MAX_CLAIM_BYTES, MAX_HELD_BYTES, Source
from support.leases import AGAIN, DONE, finish, leased

from tasker_actors.delivery.routing import commit_item
from tasker_actors.messages import (
    CommitItems,
    DispatchAll,
    ExecutorFree,
    ExtendLeases,
    StepsCommitted,
    StopClaiming,
    WorkAvailable,
)
from tasker_actors.steps.claimer import Claimed
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.ledger import Stage


@pytest.fixture
def make() -> Iterator[Callable[..., Source]]:
    made: list[Source] = []

    def start(**keys: Any) -> Source:
        made.append(Source(**keys))
        return made[-1]

    yield start
    for source in made:
        assert source.system.stop_all([], time.monotonic() + 5) == ()


@pytest.fixture
def source(make: Callable[..., Source]) -> Source:
    return make()


def committed(*steps: LeasedStep, continued: Sequence[LeasedStep] = (), released: int = 0, outcome=DONE):
    won = tuple(commit_item(finish(step, outcome)) for step in steps)
    return StepsCommitted(won, (), tuple(continued), released, {}, 1.0, 2.0)


# Credits


def test_it_claims_as_many_steps_as_there_are_places_and_wakes_an_executor_for_each(source: Source):
    steps = [leased() for _ in range(6)]
    source.queue.steps.extend(steps)

    source.tell(WorkAvailable())

    assert source.queue.calls == [("claim", (4, MAX_CLAIM_BYTES))]
    assert list(source.ready) == steps[:4]
    assert sorted(source.awake()) == [0, 1, 2, 3]
    assert source.counted.claims == [(4, True)]


def test_a_full_worker_claims_nothing_until_a_place_is_free(source: Source):
    source.queue.steps.extend(leased() for _ in range(6))
    source.tell(WorkAvailable(), WorkAvailable())
    assert len(source.queue.calls) == 1
    source.end(source.begin(0))

    source.tell(ExecutorFree(0))

    assert [arguments for _, arguments in source.queue.calls] == [(4, MAX_CLAIM_BYTES), (1, MAX_CLAIM_BYTES)]
    assert len(source.ledger) == 4


def test_while_steps_wait_it_claims_again_only_for_a_quarter_of_its_places(make: Callable[..., Source]):
    source = make(prefetch=12)
    source.capacity.measure([1.0])
    source.queue.steps.extend(leased() for _ in range(40))
    source.tell(WorkAvailable())
    for count, claims in ((3, 1), (4, 2)):
        while len(source.ledger) > 16 - count:
            source.end(source.begin(0))
        source.tell(WorkAvailable())
        assert len(source.queue.calls) == claims


def test_it_claims_again_while_there_is_more(make: Callable[..., Source]):
    source = make(executors=2)
    first, second = leased(), leased()
    source.queue.answers.append(Claimed((first,), True, None))
    source.queue.steps.append(second)

    source.tell(WorkAvailable(), ExecutorFree(0))

    assert list(source.ready) == [first, second]
    assert len(source.queue.calls) == 2


def test_what_cannot_run_here_is_given_back_and_no_executor_sees_it(source: Source):
    mine, foreign = leased(), leased()
    source.queue.answers.append(Claimed((mine,), False, None, foreign=(foreign,)))

    source.tell(WorkAvailable())

    assert list(source.ready) == [mine]
    (item,) = source.sent.get_nowait().items
    assert (item.token, item.document["outcome"]) == (foreign.token, "returned")
    assert len(source.ledger) == 2  # its place is free when it is back
    assert source.counted.claims == [(1, True)]


def test_what_is_held_counts_by_its_bytes_too(source: Source):
    large = leased(context={"text": "x" * (MAX_HELD_BYTES - 1000)})
    source.ledger.add([large])
    source.tell(WorkAvailable())
    assert 0 < source.queue.calls[0][1][1] < 1000
    source.ledger.add([leased(context={"text": "x" * 1000})])

    source.tell(WorkAvailable())

    assert len(source.queue.calls) == 1


def test_while_too_many_events_are_on_their_way_it_claims_and_wakes_nobody_and_goes_on_by_itself(source: Source):
    source.queue.steps.extend(leased() for _ in range(6))
    source.ledger.outflow.add(16 * 1024 * 1024)
    source.ready.append(leased())

    source.tell(WorkAvailable(), DispatchAll())
    assert (source.queue.calls, source.awake()) == ([], [])

    source.ledger.outflow.remove(1)
    source.settle()
    assert [what for what, _ in source.queue.calls] == ["claim"]
    assert sorted(source.awake()) == [0, 1, 2, 3]


def test_continued_steps_are_run_like_claimed_ones(source: Source):
    done, following = leased(), leased()
    source.ledger.add([following])

    source.tell(committed(done, continued=[following]))

    assert list(source.ready) == [following]
    assert (1, False) in source.counted.claims


def test_a_commit_that_released_steps_for_anybody_makes_it_look_for_work(source: Source):
    source.tell(WorkAvailable())
    source.tell(committed(leased()))
    assert len(source.queue.calls) == 1

    source.tell(committed(leased(), released=3))

    assert len(source.queue.calls) == 2


# When it looks again


def test_it_wants_to_be_woken_for_the_next_step_that_is_due(source: Source):
    source.queue.next_run_in_ms = 250.0
    now = time.monotonic()
    source.tell(WorkAvailable())

    assert now + 0.25 <= source.clock.wake_at <= time.monotonic() + 0.25


def test_without_a_due_step_the_slow_poll_stands_behind_it_all(source: Source):
    now = time.monotonic()
    source.tell(WorkAvailable())

    assert now + 1.0 <= source.clock.wake_at <= time.monotonic() + 1.0


def test_an_outage_is_tried_again_after_a_pause(source: Source):
    source.queue.answers.append(AWAY)
    source.queue.pause = 0.1
    now = time.monotonic()
    source.tell(WorkAvailable())

    assert now + 0.1 <= source.clock.wake_at <= time.monotonic() + 0.1
    assert len(source.ledger) == 0


def test_during_the_pause_nothing_makes_it_ask_the_database(source: Source):
    source.queue.answers.append(AWAY)
    source.queue.pause = 60.0
    source.tell(WorkAvailable())
    source.queue.calls.clear()
    source.clock.wake_at = 0.0

    source.tell(WorkAvailable(), ExecutorFree(0), ExtendLeases(), committed(leased(), released=3))

    assert source.queue.calls == []
    assert source.clock.wake_at > time.monotonic() + 30


def test_a_claim_is_counted_when_it_found_steps_or_failed(source: Source):
    began = time.monotonic()
    source.tell(WorkAvailable())
    assert (source.counted.claims, source.counted.failed_ms) == ([], [])

    source.queue.answers.append(AWAY)
    source.tell(WorkAvailable())

    assert source.counted.claims == []
    [milliseconds] = source.counted.failed_ms
    assert 0 <= milliseconds <= (time.monotonic() - began) * 1000


def test_retries_of_its_own_are_looked_for_when_they_are_due(source: Source):
    source.tell(WorkAvailable())
    step = leased(retry={"backoff_base_ms": 300})
    now = time.monotonic()

    source.tell(committed(step, outcome=AGAIN))

    assert now + 0.3 <= source.clock.wake_at <= time.monotonic() + 0.3


# Rule 8: what the ledger holds outlives the actor


def test_a_new_source_takes_up_what_the_ledger_holds_and_nothing_twice(make: Callable[..., Source]):
    source = make(executors=8)
    steps = [leased() for _ in range(3)]
    source.queue.steps.extend(steps)
    source.tell(WorkAvailable())
    source.begin(0)
    continued = leased()
    source.ledger.add([continued])  # told in a message that is lost with the source
    source.queue.answers.append(RuntimeError("the source fails"))

    source.tell(WorkAvailable(), WorkAvailable())

    assert list(source.ready) == [*steps[1:], continued]


def test_leases_that_are_lost_are_let_go_and_their_handlers_told(source: Source):
    running, waiting, kept = (leased() for _ in range(3))
    source.queue.steps.extend([running, waiting, kept])
    source.tell(WorkAvailable())
    source.begin(0)
    source.queue.lost = {running.token, waiting.token}

    source.tell(ExtendLeases())

    assert source.queue.calls[-1] == ("extend", [running.token, waiting.token, kept.token])
    held = {item.step: item.is_set() for item in source.ledger.items()}
    assert held == {running: True, kept: False}
    assert source.ledger.begin(waiting.token, 1, 0.0) is None


def test_after_an_outage_leases_are_extended_before_anything_is_claimed(source: Source):
    source.queue.steps.append(leased())
    source.tell(WorkAvailable())
    source.queue.answers.append(AWAY)
    source.tell(WorkAvailable())
    source.queue.calls.clear()

    source.tell(WorkAvailable())

    assert [call for call, _ in source.queue.calls] == ["extend", "claim"]


def test_after_an_outage_what_has_its_result_is_stored_before_anything_is_claimed(source: Source):
    """Extend, commit, then claim: a worker that cannot store what it has done takes nothing more."""
    source.queue.steps.extend([leased(), leased()])
    source.tell(WorkAvailable())
    first, second = source.begin(0), source.begin(1)
    finished = source.ledger.get(first.token)
    assert finished is not None
    source.ledger.finish(finished, finish(first))
    source.queue.answers.append(AWAY)
    source.tell(WorkAvailable())
    source.queue.calls.clear()

    source.tell(WorkAvailable(), WorkAvailable())
    assert [call for call, _ in source.queue.calls] == ["extend"]

    # What ends after the outage is awaited by nobody: there is always something on its way to the commit.
    late = source.ledger.get(second.token)
    assert late is not None
    source.ledger.finish(late, finish(second))
    source.ledger.remove([first.token])
    source.tell(committed(first))
    assert [call for call, _ in source.queue.calls] == ["extend", "claim"]


def test_without_an_outage_it_claims_while_results_are_on_their_way_to_the_commit(source: Source):
    source.queue.steps.append(leased())
    source.tell(WorkAvailable())
    item = source.ledger.get(source.begin(0).token)
    assert item is not None
    source.ledger.finish(item, finish(item.step))

    source.tell(ExtendLeases(), WorkAvailable())

    assert [call for call, _ in source.queue.calls] == ["claim", "extend", "claim"]


def test_a_full_worker_makes_up_for_an_extension_that_an_outage_prevented_as_soon_as_it_can(source: Source):
    source.queue.steps.extend(leased() for _ in range(4))
    source.tell(WorkAvailable())
    source.clock.wake_at = 0.0
    source.queue.extensions_prevented = 2
    now = time.monotonic()
    source.tell(ExtendLeases())
    assert now <= source.clock.wake_at <= time.monotonic()
    source.queue.calls.clear()

    source.tell(WorkAvailable(), WorkAvailable(), WorkAvailable())

    assert [call for call, _ in source.queue.calls] == ["extend", "extend"]


# The drain


def test_a_draining_source_gives_back_what_has_not_begun_and_claims_no_more(source: Source):
    running, waiting = leased(), leased()
    source.queue.steps.extend([running, waiting, leased()])
    source.queue.steps.append(leased(row={"suspect": True}))
    source.tell(WorkAvailable())
    source.begin(0)
    held = {item.step.token for item in source.ledger.items(Stage.WAITING)}

    source.tell(StopClaiming(), WorkAvailable(), ExecutorFree(0))

    message = source.sent.get(timeout=5)
    assert isinstance(message, CommitItems)
    assert {item.token for item in message.items} == held
    assert {item.document["outcome"] for item in message.items} == {"returned"}
    assert (list(source.ready), len(source.queue.calls), source.capacity.total) == ([], 1, 0)
    assert source.sent.empty()


def test_a_step_that_was_continued_while_the_drain_began_is_given_back_too(source: Source):
    source.tell(StopClaiming())
    late = leased()
    source.ledger.add([late])

    source.tell(committed(leased(), continued=[late]))

    assert [item.token for item in source.sent.get(timeout=5).items] == [late.token]


def test_an_instance_that_fails_during_the_drain_is_followed_by_one_that_drains(source: Source):
    source.tell(StopClaiming())
    late = leased()
    source.ledger.add([late])

    source.tell("nothing that it knows", WorkAvailable())

    assert [item.token for item in source.sent.get(timeout=5).items] == [late.token]
    assert source.awake() == []
