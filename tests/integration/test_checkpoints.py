"""Checkpoints: a slice of a step's work is committed, and whoever goes on with it begins there."""

from __future__ import annotations

import pytest
from support.dynamic import CSV, csv_types, divided, slice_done
from support.flow import CHAIN, Flow, Worker
from support.leases import AGAIN, MIB, event, finish, returned

from tasker_actors.postgres.session import session
from tasker_actors.postgres.workers import expire_leases


def test_a_slice_is_committed_and_the_same_worker_goes_on_from_its_checkpoint(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN, publishes_events=[event()]))
    worker = Worker(flow)
    (first,) = worker.claim()
    assert first.checkpoint is None

    reply = worker.commit(finish(first, slice_done(25, 25, {"sum": 7})), places=1)

    (again,) = worker.continued(reply, first)
    assert reply.won == {first.token}
    assert again.token != first.token
    assert (again.name, again.attempt, again.suspect) == ("first", 1, False)
    assert again.checkpoint is not None
    assert {key: again.checkpoint[key] for key in ("cursor", "items_processed", "accumulated_results")} == {
        "cursor": 25,
        "items_processed": 25,
        "accumulated_results": {"sum": 7},
    }
    assert (flow.attempts(row.task_uuid), flow.queue()) == ([], [])
    assert flow.task(row.task_uuid)["status"] == "in_progress"
    worker.commit(finish(again))
    assert worker.run() == 2
    assert flow.task(row.task_uuid)["status"] == "complete"


def test_without_room_any_worker_may_go_on_at_once(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker, other = Worker(flow), Worker(flow)

    reply = worker.commit(finish(worker.claim()[0], slice_done(1)))

    assert ([*reply.steps], reply.released) == ([], 1)
    (taken,) = other.claim()
    assert taken.checkpoint is not None
    assert taken.checkpoint["cursor"] == 1
    assert flow.states(row.task_uuid)["first"] == "in_progress"


def test_slices_remember_the_cursors_before(flow: Flow):
    flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    for cursor in range(3):
        worker.commit(finish(worker.claim()[0], slice_done(cursor)))

    (step,) = worker.claim()

    assert step.checkpoint is not None
    assert [one["cursor"] for one in step.checkpoint["history"]] == [0, 1, 2]


@pytest.mark.parametrize("ends", ["killed", "killed beside others", "not extended", "given back", "failed"])
def test_however_an_attempt_ends_the_next_one_begins_at_the_last_checkpoint(flow: Flow, ends: str):
    (_row,) = flow.create(flow.register(CSV, steps=csv_types(), retry={"backoff": "none"}))
    worker, other = Worker(flow), Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(2)))
    first, second = worker.claim()
    (step,) = worker.continued(worker.commit(finish(first, slice_done(5, 5, ["kept"])), places=1), first)

    match ends:
        case "killed":
            flow.settlement().settle(worker.worker_id, running={step.token}, reason="SIGKILL")
        case "killed beside others":
            flow.settlement().settle(worker.worker_id, running={step.token, second.token}, reason="SIGKILL")
        case "not extended":
            flow.rows(
                "UPDATE tasker.steps SET run_at = now() - interval '1 s' WHERE token = %s RETURNING 1", step.token
            )
            with session(flow.pool) as connection:
                assert expire_leases(connection, grace_ms=0) == 1
        case "given back":
            worker.commit(returned(step))
        case _:
            worker.commit(finish(step, AGAIN))
    flow.rows("UPDATE tasker.steps SET run_at = now() WHERE state = 'waiting_for_retry' RETURNING 1")

    taken = next(one for one in other.claim() if one.step_uuid == first.step_uuid)

    assert taken.checkpoint == step.checkpoint
    assert (taken.name, taken.inputs) == ("work_001", first.inputs)
    assert taken.attempt == (2 if ends in ("killed", "failed") else 1)


def test_a_slice_clears_the_suspicion_of_a_step_that_ran_alone(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    flow.rows("UPDATE tasker.steps SET suspect = true WHERE state = 'enqueued' RETURNING 1")
    worker = Worker(flow)

    worker.commit(finish(worker.claim()[0], slice_done(1)))

    assert not flow.steps(row.task_uuid)["first"]["suspect"]


def test_a_checkpoint_above_its_size_fails_the_step_for_good_and_stores_nothing(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)

    reply = worker.commit(finish(worker.claim()[0], slice_done(1, 1, "x" * MIB)))

    assert reply.finished_tasks == {row.task_uuid: "error"}
    first = flow.steps(row.task_uuid)["first"]
    assert (first["error"]["error_type"], first["checkpoint"]) == ("invalid_checkpoint", None)
    assert "batches.max_checkpoint_bytes" in first["error"]["message"]


def test_a_claim_counts_the_bytes_of_checkpoints(flow: Flow):
    flow.create(flow.register({"first": [], "second": [], "third": []}))
    worker = Worker(flow)
    worker.commit(*(finish(step, slice_done(1, 1, "x" * 1000)) for step in worker.claim()))

    assert len(worker.claim(max_bytes=2500)) == 2


def test_a_result_whose_lease_has_gone_stores_no_checkpoint(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    (first,) = worker.claim()
    flow.cancel(row.task_uuid)

    assert worker.commit(finish(first, slice_done(1))).won == frozenset()

    assert flow.steps(row.task_uuid)["first"]["checkpoint"] is None
