"""Checkpoints: a slice of a step's work is committed, and whoever goes on with it begins there."""

from __future__ import annotations

from support.dynamic import slice_done
from support.flow import CHAIN, Flow, Worker
from support.leases import finish


def test_a_slice_is_committed_and_the_same_worker_goes_on_from_its_checkpoint(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    (first,) = worker.claim()
    assert first.checkpoint is None

    reply = worker.commit(finish(first, slice_done(25, 25, {"sum": 7})), places=1)

    (again,) = worker.continued(reply, first)
    assert reply.won == {first.token}
    assert again.token != first.token
    assert (again.name, again.attempt, again.suspect) == ("first", 1, False)
    assert again.checkpoint is not None
    assert again.checkpoint["cursor"] == 25
    assert again.checkpoint["items_processed"] == 25
    assert again.checkpoint["accumulated_results"] == {"sum": 7}
    assert [one["cursor"] for one in again.checkpoint["history"]] == [25]
    assert flow.attempts(row.task_uuid) == []
    worker.commit(finish(again))
    assert worker.run() == 2
    assert flow.task(row.task_uuid)["status"] == "complete"
