"""A step that ran beside others when a worker died runs alone next, so that only the one that kills is charged.

DESIGN 3 rule 3, in StepSource.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.feeding import Source
from support.leases import finish, leased
from support.waiting import until

from tasker_actors.messages import DispatchAll, ExecutorFree, WorkAvailable


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    assert source.system.stop_all([], time.monotonic() + 5) == ()


def test_a_suspect_waits_until_nothing_else_runs_and_then_runs_alone(source: Source):
    before, suspect, after = leased(), leased(row={"suspect": True}), leased()
    source.queue.steps.extend([before, suspect, after])
    source.tell(WorkAvailable())
    assert list(source.ready) == [before]
    (first,) = source.awake()
    source.end(source.begin(first))
    source.tell(ExecutorFree(first))
    assert list(source.ready) == [suspect]
    (second,) = source.awake()
    source.begin(second)
    source.tell(WorkAvailable(), DispatchAll())
    assert (list(source.ready), source.awake()) == ([], [])
    source.end(suspect)

    source.tell(ExecutorFree(second))

    assert list(source.ready) == [after]


def test_two_suspects_run_one_after_the_other(source: Source):
    suspects = [leased(row={"suspect": True}) for _ in range(2)]
    source.queue.steps.extend(suspects)
    source.tell(WorkAvailable())
    assert list(source.ready) == suspects[:1]
    (executor,) = source.awake()
    source.end(source.begin(executor))

    source.tell(ExecutorFree(executor))

    assert list(source.ready) == suspects[1:]


def test_an_executor_that_came_too_late_for_a_suspect_does_not_end_its_solitude(source: Source):
    suspect, after = leased(row={"suspect": True}), leased()
    source.queue.steps.extend([suspect, after])
    source.tell(WorkAvailable())
    (slow,) = source.awake()  # woken, and not yet there
    source.tell(DispatchAll())
    quick = source.awake()[0]
    source.begin(quick)

    source.tell(ExecutorFree(slow))

    assert list(source.ready) == []


def test_a_suspect_runs_alone_also_after_a_failure_of_the_source(source: Source):
    suspect, after = leased(row={"suspect": True}), leased()
    source.queue.steps.extend([suspect, after])
    source.tell(WorkAvailable())
    source.begin(source.awake()[0])
    source.queue.answers.append(RuntimeError("the source fails"))

    source.tell(WorkAvailable(), WorkAvailable())

    assert list(source.ready) == []


def test_after_a_failure_of_the_source_a_suspect_waits_for_what_runs(source: Source):
    running, suspect = leased(), leased(row={"suspect": True})
    source.queue.steps.extend([running, suspect])
    source.tell(WorkAvailable())
    source.begin(source.awake()[0])
    source.queue.answers.append(RuntimeError("the source fails"))

    source.tell(WorkAvailable(), WorkAvailable())

    assert list(source.ready) == []


def test_a_suspect_waits_for_what_is_on_its_way_to_the_commit_and_others_wait_for_its_own(source: Source):
    before, suspect, after = leased(), leased(row={"suspect": True}), leased()
    source.queue.steps.extend([before, suspect, after])
    source.tell(WorkAvailable())
    for step in (before, suspect):
        assert list(source.ready) == [step]
        executor = source.awake()[0]
        item = source.ledger.get(source.begin(executor).token)
        assert item is not None
        source.ledger.finish(item, finish(step))
        source.ledger.committing([step.token])
        source.tell(ExecutorFree(executor))
        assert list(source.ready) == []
        source.ledger.remove([step.token])
        source.tell(WorkAvailable())

    assert list(source.ready) == [after]


def test_a_suspect_begins_when_the_database_has_noted_it_and_not_before(source: Source):
    suspect = leased(row={"suspect": True})
    source.queue.steps.append(suspect)
    source.queue.notes_prevented = 1
    now = time.monotonic()
    source.tell(WorkAvailable())
    assert list(source.ready) == []
    assert source.clock.wake_at <= now + 5
    assert source.queue.calls.count(("begin", suspect.token)) == 1
    until(lambda: time.monotonic() > now + 0.2)  # not asked again before its pause is over

    source.tell(WorkAvailable())

    assert list(source.ready) == [suspect]


def test_a_suspect_whose_lease_is_lost_does_not_begin_and_stops_nobody(source: Source):
    suspect, after = leased(row={"suspect": True}), leased()
    source.queue.steps.extend([suspect, after])
    source.queue.lost = {suspect.token}

    source.tell(WorkAvailable())

    assert source.ledger.begin(suspect.token, 0, 1.0) is None
    assert after in source.ready
