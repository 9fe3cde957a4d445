"""Leases: extended by token, lost ones told, forgotten ones given back, expired ones taken (DESIGN 3 rules 8 and 9)."""

from __future__ import annotations

from support.flow import CHAIN, Flow, Worker
from support.leases import finish

from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.session import session
from tasker_actors.postgres.workers import expire_leases, try_lead


def age_leases(flow: Flow, seconds: float):
    """Let time pass for every lease."""
    flow.rows(
        "UPDATE tasker.steps SET run_at = run_at - make_interval(secs => %s) WHERE state = 'in_progress' RETURNING 1",
        seconds,
    )


def expire(flow: Flow, *, grace_ms: int = 0) -> int:
    """Take expired leases, as if the server had started longer ago than `grace_ms`."""
    with session(flow.pool) as connection:
        return expire_leases(connection, grace_ms=grace_ms)


def lease_of(flow: Flow, task_uuid: str):
    (step,) = flow.steps(task_uuid).values()
    return step["state"], step["token"], step["suspect"], step["attempts"]


def test_an_extension_moves_the_end_of_every_lease_and_loses_none(flow: Flow):
    rows = flow.create(flow.register({"only": []}), count=3)
    worker = Worker(flow)
    steps = worker.claim()
    age_leases(flow, 29)

    assert worker.claimer.extend(steps) == frozenset()

    assert flow.rows("SELECT FROM tasker.steps WHERE run_at < statement_timestamp() + interval '25 s'") == []
    assert {lease_of(flow, row.task_uuid)[1] for row in rows} == {step.token for step in steps}


def test_an_extension_names_the_tokens_that_are_lost(flow: Flow):
    flow.create(flow.register({"only": []}, retry={"backoff": "none"}), count=3)
    worker = Worker(flow)
    kept, cancelled, committed = worker.claim()
    flow.cancel(cancelled.task.task_uuid)
    worker.commit(finish(committed))

    assert worker.claimer.extend([kept, cancelled, committed]) == {cancelled.token, committed.token}


def test_an_extension_touches_no_lease_of_another_worker(flow: Flow):
    registered = flow.register({"only": []})
    theirs, mine = Worker(flow), Worker(flow)
    (row,) = flow.create(registered)
    theirs.claim()
    flow.create(registered)
    steps = mine.claim()
    before = flow.steps(row.task_uuid)
    age_leases(flow, 0)

    mine.claimer.extend(steps)

    assert flow.steps(row.task_uuid) == before


def test_a_lease_that_the_worker_does_not_know_is_given_back_uncounted(flow: Flow):
    rows = flow.create(flow.register({"only": []}), count=2)
    worker = Worker(flow)
    known, unknown = worker.claim()  # as if the reply with the second had been lost with its connection
    age_leases(flow, 6)

    assert worker.claimer.extend([known]) == frozenset()

    assert {lease_of(flow, row.task_uuid) for row in rows} == {
        ("in_progress", known.token, False, 0),
        ("enqueued", None, False, 0),
    }
    (again,) = Worker(flow).claim()
    assert (again.task.task_uuid, again.attempt) == (unknown.task.task_uuid, 1)


def test_a_worker_that_holds_nothing_gets_its_forgotten_leases_taken_too(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    worker.claim()
    age_leases(flow, 6)

    worker.claimer.extend([])

    assert lease_of(flow, row.task_uuid)[0] == "enqueued"


def test_a_young_unknown_lease_is_left_because_its_reply_may_be_on_its_way(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    age_leases(flow, 4)

    worker.claimer.extend([])

    assert lease_of(flow, row.task_uuid)[1] == step.token


def test_a_continuation_whose_reply_was_lost_comes_back_this_way(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    batch = worker.batch(finish(worker.claim()[0]), places=1)
    worker.committer.commit(batch)
    assert not worker.committer.commit(batch).steps  # sent again: the kept reply does not name it
    age_leases(flow, 6)

    worker.claimer.extend([])

    assert flow.states(row.task_uuid)["second"] == "enqueued"


def test_an_expired_lease_goes_back_uncounted_to_run_alone_next(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (late,) = worker.claim()
    age_leases(flow, 31)

    assert expire(flow) == 1

    assert lease_of(flow, row.task_uuid) == ("enqueued", None, True, 0)
    assert worker.commit(finish(late)).won == frozenset()
    assert [(step.suspect, step.attempt) for step in worker.claim()] == [(True, 1)]


def test_a_lease_that_still_runs_is_not_taken(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    (step,) = Worker(flow).claim()

    assert expire(flow) == 0
    assert lease_of(flow, row.task_uuid)[1] == step.token


def test_nothing_is_taken_in_the_first_seconds_of_the_servers_life(flow: Flow):
    flow.create(flow.register({"only": []}))
    Worker(flow).claim()
    age_leases(flow, 31)

    assert (expire(flow, grace_ms=86_400_000), expire(flow)) == (0, 1)


def test_expiry_passes_over_a_step_that_a_commit_holds(flow: Flow):
    flow.create(flow.register({"only": []}), count=2)
    worker = Worker(flow)
    held, free = worker.claim()
    age_leases(flow, 31)
    with connect(flow.url, application_name="tests", autocommit=False) as connection:
        connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [worker.batch(finish(held)).decode()])
        assert expire(flow) == 1
        connection.commit()

    assert flow.states(held.task.task_uuid) == {"only": "complete"}
    assert flow.states(free.task.task_uuid) == {"only": "enqueued"}


def test_an_extension_passes_over_a_step_that_a_commit_holds(flow: Flow):
    flow.create(flow.register({"only": []}), count=2)
    worker = Worker(flow)
    steps = worker.claim()
    with connect(flow.url, application_name="tests", autocommit=False) as connection:
        connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [worker.batch(finish(steps[0])).decode()])
        assert worker.claimer.extend(steps) == frozenset()
        connection.commit()

    assert flow.states(steps[0].task.task_uuid) == {"only": "complete"}


def test_there_is_one_leader_at_a_time_until_the_end_of_its_transaction(flow: Flow):
    with session(flow.pool) as first, session(flow.pool) as second:
        with first.transaction():
            assert try_lead(first)
            with second.transaction():
                assert not try_lead(second)
        with second.transaction():
            assert try_lead(second)
