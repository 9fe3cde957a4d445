"""What one commit does: results, attempts, successors, task states, and all of it or nothing (DESIGN 3 rules 2, 5)."""

from __future__ import annotations

import orjson
import psycopg
import pytest
from support.flow import CHAIN, DIAMOND, Flow, Worker, by_name
from support.leases import AGAIN, DONE, NEVER, SHOP, event, finish, returned

from tasker_actors.delivery.committer import WorkerFencedError
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.workers import fence
from tasker_actors.workflow.outcome import StepSuccess


def everything(flow: Flow):
    """All that a commit may change, but for the moments."""
    return (
        flow.rows("SELECT task_uuid, position, state, token, attempts, result FROM tasker.steps ORDER BY 1, 2"),
        flow.rows("SELECT task_uuid, status, open_steps, failed_steps FROM tasker.tasks ORDER BY 1"),
        flow.rows("SELECT task_uuid, position, token, outcome FROM tasker.step_attempts ORDER BY token"),
        flow.rows("SELECT * FROM tasker.worker_counts ORDER BY 1, 2, 3"),
        flow.queue(),
        flow.queue(f"{SHOP}_domain_events_dlq"),
    )


def test_a_chain_runs_to_its_end_one_step_after_the_other(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    seen = []
    while steps := worker.claim():
        seen.append((flow.states(row.task_uuid), flow.task(row.task_uuid)["status"]))
        reply = worker.commit(*(finish(step) for step in steps))

    assert [states for states, _ in seen] == [
        {"first": "in_progress", "second": "pending", "third": "pending"},
        {"first": "complete", "second": "in_progress", "third": "pending"},
        {"first": "complete", "second": "complete", "third": "in_progress"},
    ]
    assert [status for _, status in seen] == ["pending", "in_progress", "in_progress"]
    assert reply.finished_tasks == {row.task_uuid: "complete"}
    task = flow.task(row.task_uuid)
    assert (task["status"], task["open_steps"], task["failed_steps"]) == ("complete", 0, 0)
    assert task["completed_at"] == task["updated_at"]


def test_a_step_is_released_by_its_last_predecessor_only(flow: Flow):
    (row,) = flow.create(flow.register(DIAMOND))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0]))
    sides = by_name(worker.claim())

    first = worker.commit(finish(sides["left"]))
    assert (first.released, flow.states(row.task_uuid)["bottom"]) == (0, "pending")
    second = worker.commit(finish(sides["right"]))
    assert (second.released, flow.states(row.task_uuid)["bottom"]) == (1, "enqueued")


def test_two_predecessors_in_one_batch_release_their_successor_once(flow: Flow):
    (row,) = flow.create(flow.register(DIAMOND))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0]))

    reply = worker.commit(*(finish(step) for step in worker.claim()))

    assert reply.released == 1
    assert flow.steps(row.task_uuid)["bottom"]["open_dependencies"] == 0
    assert worker.run() == 1
    assert flow.task(row.task_uuid)["status"] == "complete"


@pytest.mark.parametrize("result", [{"n": 1}, None, [], "Ünï\u2028", 0, {"deep": [[{}]]}, 2**63])
def test_a_result_is_stored_and_handed_on_as_it_was_given(flow: Flow, result):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], StepSuccess(result)))

    (second,) = worker.claim()
    assert second.dependency_results == {"first": result}
    assert flow.steps(row.task_uuid)["first"]["result_bytes"] == len(orjson.dumps(result))


# Rule 2: everything follows from the set that won


def test_a_result_whose_token_is_gone_changes_nothing_at_all(flow: Flow):
    flow.create(flow.register(CHAIN, publishes_events=[event()]))
    slow, quick = Worker(flow), Worker(flow)
    (late,) = slow.claim()
    flow.settlement().settle(slow.worker_id, running=(), reason="killed")
    (live,) = quick.claim()
    slow.worker_id = quick.worker_id  # a live session, so that only the token can tell
    before = everything(flow)

    reply = quick.commit(finish(late))

    assert (reply.won, reply.released, reply.finished_tasks) == (frozenset(), 0, {})
    assert everything(flow) == before
    assert quick.commit(finish(live)).won == {live.token}


def test_a_late_result_does_not_take_the_results_beside_it_down(flow: Flow):
    rows = flow.create(flow.register({"only": []}, publishes_events=[event()]), count=3)
    worker = Worker(flow)
    steps = worker.claim()
    cancelled = steps[1].task.task_uuid
    flow.cancel(cancelled)

    reply = worker.commit(*(finish(step) for step in steps))

    assert reply.won == {step.token for step in steps if step.task.task_uuid != cancelled}
    assert {message["message"]["metadata"]["task_uuid"] for message in flow.queue()} == {
        row.task_uuid for row in rows
    } - {cancelled}


def test_the_same_result_twice_in_one_batch_counts_once(flow: Flow):
    (row,) = flow.create(flow.register(DIAMOND, publishes_events=[event()]))
    worker = Worker(flow)
    (top,) = worker.claim()

    worker.commit(finish(top), finish(top))

    assert flow.task(row.task_uuid)["open_steps"] == 3
    assert len(flow.queue()) == 1
    assert flow.attempts(row.task_uuid) == [(1, 1, "complete")]


def test_a_result_cannot_be_committed_a_second_time(flow: Flow):
    flow.create(flow.register(DIAMOND))
    worker = Worker(flow)
    (top,) = worker.claim()
    worker.commit(finish(top))
    before = everything(flow)

    assert worker.commit(finish(top, NEVER)).won == frozenset()
    assert everything(flow) == before


def test_a_fenced_worker_commits_nothing(flow: Flow):
    flow.create(flow.register({"only": []}, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.pool.connection() as connection:
        fence(connection, worker.worker_id, "test")
    before = everything(flow)

    with pytest.raises(WorkerFencedError):
        worker.commit(finish(step))
    assert everything(flow) == before


# Retries and failures


def test_attempts_are_counted_and_kept_with_their_outcomes(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, retry={"backoff": "none", "max_attempts": 3}))
    worker = Worker(flow)
    for outcome in (AGAIN, AGAIN, DONE):
        worker.commit(finish(worker.claim()[0], outcome))

    assert flow.attempts(row.task_uuid) == [
        (1, 1, "waiting_for_retry"),
        (1, 2, "waiting_for_retry"),
        (1, 3, "complete"),
    ]
    only = flow.steps(row.task_uuid)["only"]
    assert (only["attempts"], only["state"], only["error"]) == (3, "complete", None)


def test_the_last_attempt_fails_the_step_for_good(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, retry={"backoff": "none", "max_attempts": 2}))
    worker = Worker(flow)
    assert worker.run(AGAIN) == 2

    only = flow.steps(row.task_uuid)["only"]
    assert (only["state"], only["attempts"], only["run_at"]) == ("error", 2, None)
    assert only["error"]["error_type"] == "handler_error"
    assert flow.task(row.task_uuid)["status"] == "error"


def test_a_returned_step_is_not_counted_and_leaves_no_attempt(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()

    assert worker.commit(returned(step)).won == {step.token}

    assert flow.attempts(row.task_uuid) == []
    (again,) = worker.claim()
    assert (again.attempt, again.suspect) == (1, False)


# Rule 5: numbered commits


def test_a_batch_that_is_sent_again_with_its_number_gets_the_kept_reply_and_does_nothing(flow: Flow):
    flow.create(flow.register(CHAIN, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    batch = worker.batch(finish(step))
    first = worker.committer.commit(batch)
    before = everything(flow)

    again = worker.committer.commit(batch)

    assert (again.won, again.released, again.finished_tasks) == (first.won, first.released, first.finished_tasks)
    assert again.won == {step.token}
    assert everything(flow) == before


def test_the_kept_reply_names_no_continued_steps_because_their_leases_are_given_back(flow: Flow):
    flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    batch = worker.batch(finish(worker.claim()[0]), places=5)

    assert [len(worker.committer.commit(batch).steps) for _ in range(2)] == [1, 0]


def test_a_number_out_of_order_is_refused_and_changes_nothing(flow: Flow):
    flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    before = everything(flow)

    with (
        connect(flow.url, application_name="tests") as connection,
        pytest.raises(psycopg.errors.InternalError_, match="sent commit 5 after commit 0"),
    ):
        connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [worker.batch(finish(step), seq=5).decode()])
    assert everything(flow) == before
