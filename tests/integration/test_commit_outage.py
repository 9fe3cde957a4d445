"""Connections that are cut around a commit: what happened is found out, and happens once (DESIGN 3 rules 5 to 9)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from support.cutting_proxy import CuttingProxy
from support.flow import CHAIN, Flow, Worker
from support.leases import MIB, event, finish, publication
from support.scale import SCALE

CLAIM = b"claim_steps_v1"
COMMIT = b"commit_batch_v1"
COMMIT_DATA = b'"lease_ms":30000'


@pytest.fixture
def proxy(flow: Flow) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(flow.url)
    yield proxy
    proxy.close()


@contextmanager
def terminated_while_blocked(flow: Flow) -> Iterator[None]:
    """End the block's session on the server as soon as it waits for the lock of a task."""
    with ThreadPoolExecutor() as threads, flow.in_flight("SELECT FROM tasker.tasks FOR UPDATE") as holder:

        def terminate() -> None:
            flow.wait_until_blocked()
            flow.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            holder.rollback()

        done = threads.submit(terminate)
        yield
        done.result()


# Rule 5: unknown outcomes


@pytest.mark.parametrize("when", ["request", "running", "reply", "row"])
def test_a_commit_that_is_cut_is_stored_once_and_its_result_is_no_lost_lease(
    flow: Flow, proxy: CuttingProxy, when: str
):
    flow.create(flow.register(CHAIN, publishes_events=[event()]))
    worker = Worker(flow, url=proxy.url)
    for _ in range(2):  # the first commit of a session and a later one
        (step,) = worker.claim()
        proxy.cut(COMMIT, when)

        reply = worker.commit(finish(step))

        assert reply.won == {step.token}
        assert reply.released == 1
        assert worker.commits.away_since is None
    assert len(worker.commits.errors) == 2
    assert len(flow.queue()) == 2
    assert flow.counts(worker.worker_id) == {("step.done", "durable"): (2, 0)}


def test_commits_that_are_cut_by_the_hundred_are_stored_once_each(flow: Flow, proxy: CuttingProxy):
    """`EXPERIMENT_SCALE=n` cuts n times as often; what a cut hits is drawn from a fixed seed."""
    cuts = 60 * SCALE
    chance = random.Random(20260)  # noqa: S311 - no secret
    flow.create(flow.register(CHAIN, publishes_events=[event()]), count=cuts // 3)
    worker = Worker(flow, url=proxy.url)
    committed = 0
    while steps := worker.claim(1):
        proxy.cut(COMMIT_DATA, chance.choice(["request", "running", "reply", "row"]))
        reply = worker.commit(finish(steps[0]))
        assert reply.won == {steps[0].token}
        committed += 1

    assert (committed, proxy.cuts, worker.seq) == (cuts, cuts, cuts)
    assert flow.rows("SELECT DISTINCT status FROM tasker.tasks") == [{"status": "complete"}]
    assert len({one["message"]["metadata"]["step_uuid"] for one in flow.queue()}) == len(flow.queue()) == cuts
    assert flow.counts(worker.worker_id) == {("step.done", "durable"): (cuts, 0)}


@pytest.mark.parametrize("when", ["request", "reply"])
def test_an_event_from_outside_a_step_is_published_once_through_a_cut(flow: Flow, proxy: CuttingProxy, when: str):
    flow.register({"only": []})
    worker = Worker(flow, url=proxy.url)
    proxy.cut(COMMIT, when)

    worker.commit(publication({"n": 1}))

    assert [one["message"]["payload"] for one in flow.queue()] == [{"n": 1}]


def test_a_commit_whose_server_process_is_terminated_is_rolled_back_and_repeated(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    with terminated_while_blocked(flow):
        reply = worker.commit(finish(step))

    assert reply.won == {step.token}
    assert [error.sqlstate for error in worker.commits.errors] == ["57P01"]
    assert (flow.task(row.task_uuid)["status"], len(flow.queue())) == ("complete", 1)


def test_a_result_whose_lease_ended_during_the_cut_is_lost_and_not_stored_twice(flow: Flow, proxy: CuttingProxy):
    (row,) = flow.create(flow.register({"only": []}, publishes_events=[event()]))
    worker = Worker(flow, url=proxy.url)
    (step,) = worker.claim()
    batch = worker.batch(finish(step))
    flow.cancel(row.task_uuid)
    proxy.cut(COMMIT, "reply")

    assert worker.committer.commit(batch).won == frozenset()
    assert flow.queue() == []


# Rules 8 and 9: claims and leases around a cut


def test_a_claim_that_is_cut_claims_nothing_and_the_next_one_goes_on(flow: Flow, proxy: CuttingProxy):
    flow.create(flow.register({"only": []}))
    worker = Worker(flow, url=proxy.url)
    proxy.cut(CLAIM, "request")

    assert worker.claimer.claim(10, MIB) is None
    assert worker.claims.away_since is not None
    assert len(worker.claim()) == 1
    assert worker.claims.away_since is None


def test_a_lease_whose_reply_was_cut_comes_back_when_the_worker_says_what_it_holds(flow: Flow, proxy: CuttingProxy):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow, url=proxy.url)
    proxy.cut(CLAIM, "reply")
    assert worker.claimer.claim(10, MIB) is None
    assert flow.states(row.task_uuid) == {"only": "in_progress"}
    flow.rows("UPDATE tasker.steps SET run_at = run_at - interval '6 s' RETURNING 1")

    worker.claimer.extend([])

    (step,) = worker.claim()
    assert (step.attempt, step.suspect) == (1, False)


def test_an_extension_during_an_outage_reports_no_lease_as_lost(flow: Flow):
    flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    steps = worker.claim()
    worker.claims.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.claims, "_connect", refuse)
        assert not worker.claimer.extend(steps)
        assert worker.claims.away_since is not None

    assert worker.claimer.extend(steps) == frozenset()
    assert worker.claims.away_since is None


def test_a_commit_waits_as_long_as_the_server_is_away(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    reconnect = worker.commits._connect
    tries = iter(range(6))

    def connect_at_last() -> psycopg.Connection:
        return reconnect() if next(tries) == 5 else refuse()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.commits, "_connect", connect_at_last)
        worker.commits.close()
        assert worker.commit(finish(step)).won == {step.token}

    assert len(worker.commits.errors) == 5
    assert flow.task(row.task_uuid)["status"] == "complete"


def refuse() -> psycopg.Connection:
    raise psycopg.OperationalError("connection refused")
