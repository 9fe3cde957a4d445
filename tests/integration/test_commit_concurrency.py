"""Sessions that meet on the same task or worker, each meeting arranged and not left to luck.

DESIGN 3 rules 1 (order of locks), 2 (who won), 4 (the lock on the worker), 5 (the same batch twice), 7 (lock timeouts).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.flow import CHAIN, DIAMOND, Flow, Worker
from support.leases import NEVER, SHOP, event, finish, publication

from tasker_actors.delivery.committer import WorkerFencedError
from tasker_actors.postgres.workers import WorkerState, heartbeat
from tasker_actors.stats.counters import CommittedCount

COMMIT = "SELECT tasker.commit_batch_v1(%s::jsonb)"
CLAIM = "SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 10, 30000, 1000000)"
FENCE = "SELECT tasker.fence_worker_v2(%s, 'test')"
CANCEL = "SELECT tasker.cancel_task_v1(%s)"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def text(batch: bytes) -> str:
    return batch.decode()


def sides_of_a_diamond(flow: Flow, first: Worker, second: Worker):
    """One task whose two middle steps are leased to two workers."""
    (row,) = flow.create(flow.register(DIAMOND, publishes_events=[event()]))
    first.commit(finish(first.claim()[0]))
    return row.task_uuid, first.claim(1)[0], second.claim(1)[0]


# Rule 1: tasks are locked before anything that decides about them is read


def test_two_last_predecessors_that_commit_at_once_release_their_successor(flow: Flow, threads):
    one, two = Worker(flow), Worker(flow)
    task, left, right = sides_of_a_diamond(flow, one, two)
    with flow.in_flight(COMMIT, text(one.batch(finish(left)))):
        later = threads.submit(two.commit, finish(right))
        flow.wait_until_blocked()

    assert later.result().released == 1
    assert flow.steps(task)["bottom"]["state"] == "enqueued"


def test_two_last_steps_that_commit_at_once_finish_their_task_once(flow: Flow, threads):
    (row,) = flow.create(flow.register({"left": [], "right": []}))
    one, two = Worker(flow), Worker(flow)
    left, right = one.claim(1)[0], two.claim(1)[0]
    with flow.in_flight(COMMIT, text(one.batch(finish(left)))):
        later = threads.submit(two.commit, finish(right))
        flow.wait_until_blocked()

    assert later.result().finished_tasks == {row.task_uuid: "complete"}
    assert flow.task(row.task_uuid)["open_steps"] == 0


def test_two_parents_that_fail_at_once_block_what_is_below_them_once(flow: Flow, threads):
    one, two = Worker(flow), Worker(flow)
    task, left, right = sides_of_a_diamond(flow, one, two)
    with flow.in_flight(COMMIT, text(one.batch(finish(left, NEVER)))):
        later = threads.submit(two.commit, finish(right, NEVER))
        flow.wait_until_blocked()

    assert later.result().finished_tasks == {task: "error"}
    assert (flow.task(task)["open_steps"], flow.task(task)["failed_steps"]) == (0, 2)


def test_batches_that_share_tasks_in_opposite_order_do_not_deadlock(flow: Flow, threads):
    """Somebody holds the middle one of three tasks: who had locked the last one by then would wait for the first."""
    rows = flow.create(flow.register({"left": [], "right": []}), count=3)
    one, two = Worker(flow), Worker(flow)
    steps = sorted(one.claim(), key=lambda step: step.task.task_uuid)
    left, right = steps[::2], steps[:0:-2]
    middle = sorted(row.task_uuid for row in rows)[1]
    flow.rows(
        "UPDATE tasker.steps SET worker_id = %s WHERE token = ANY (%s) RETURNING 1",
        two.worker_id,
        [step.token for step in right],
    )
    with flow.in_flight("SELECT FROM tasker.tasks WHERE task_uuid = %s FOR UPDATE", middle):
        first = threads.submit(one.commit, *map(finish, left))
        flow.wait_until_blocked(1)
        second = threads.submit(two.commit, *map(finish, right))
        flow.wait_until_blocked(2)

    assert (len(first.result().won), len(second.result().won)) == (3, 3)
    assert (one.commits.errors, two.commits.errors) == ([], [])
    assert {row["status"] for row in flow.rows("SELECT status FROM tasker.tasks")} == {"complete"}


def test_tasks_are_locked_in_the_order_of_their_keys_however_they_lie_and_are_found(flow: Flow, threads):
    """Their rows lie in the opposite order, and are read as they lie; somebody holds the middle one of the three."""
    rows = flow.create(flow.register({"only": []}), count=3)
    _, middle, last = sorted(row.task_uuid for row in rows)
    worker = Worker(flow)
    steps = worker.claim()
    with flow.pool.connection() as connection:
        connection.execute("CREATE INDEX reversed ON tasker.tasks (task_uuid DESC)")
        connection.execute("CLUSTER tasker.tasks USING reversed")
        connection.execute("DROP INDEX tasker.reversed")
        # What is left to the planner is a bitmap scan.
        connection.execute("ALTER FUNCTION tasker.apply_results_v1 SET enable_indexscan = off")
    with flow.in_flight("SELECT FROM tasker.tasks WHERE task_uuid = %s FOR UPDATE", middle):
        waiting = threads.submit(worker.commit, *map(finish, steps))
        flow.wait_until_blocked()
        free = flow.rows("SELECT task_uuid::text FROM tasker.tasks FOR UPDATE SKIP LOCKED")

    assert len(waiting.result().won) == 3
    assert [row["task_uuid"] for row in free] == [last]


def test_a_fan_in_of_100_with_4_workers_ends_without_a_deadlock(flow: Flow, threads):
    graph: dict[str, list[str]] = {f"root{number}": [] for number in range(100)}
    rows = flow.create(flow.register({**graph, "sink": list(graph)}, publishes_events=[event()]), count=3)
    workers = [Worker(flow) for _ in range(4)]

    def work(worker: Worker) -> None:
        while steps := worker.claim(3):
            worker.commit(*map(finish, steps))

    for each in [threads.submit(work, worker) for worker in workers]:
        each.result()
    for worker in workers:  # a sink that was released after the others had stopped to look
        work(worker)

    assert [error for worker in workers for error in worker.commits.errors] == []
    assert {flow.task(row.task_uuid)["status"] for row in rows} == {"complete"}
    assert len({one["message"]["event_id"] for one in flow.queue()}) == len(flow.queue()) == 303


# Rule 2: a cancel on either side of a commit


def test_a_commit_that_waits_for_a_cancel_changes_nothing(flow: Flow, threads):
    (row,) = flow.create(flow.register(CHAIN, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.in_flight(CANCEL, row.task_uuid):
        late = threads.submit(worker.commit, finish(step), places=5)
        flow.wait_until_blocked()

    assert late.result().won == frozenset()
    assert set(flow.states(row.task_uuid).values()) == {"cancelled"}
    assert (flow.task(row.task_uuid)["status"], flow.queue()) == ("cancelled", [])


def test_a_cancel_that_waits_for_a_commit_ends_what_the_commit_released(flow: Flow, threads):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.in_flight(COMMIT, text(worker.batch(finish(step), places=1))):
        late = threads.submit(flow.cancel, row.task_uuid)
        flow.wait_until_blocked()

    assert len(late.result().leases) == 1  # the continued step: its handler must hear of it
    assert flow.states(row.task_uuid) == {"first": "complete", "second": "cancelled", "third": "cancelled"}


def test_a_cancel_that_waits_for_a_claim_names_the_lease_that_it_ends(flow: Flow, threads):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    with flow.in_flight(CLAIM, worker.worker_id):
        late = threads.submit(flow.cancel, row.task_uuid)
        flow.wait_until_blocked()

    assert [lease.worker_id for lease in late.result().leases] == [worker.worker_id]
    assert flow.states(row.task_uuid) == {"only": "cancelled"}


def test_a_settlement_that_waits_for_a_cancel_counts_no_failure(flow: Flow, threads):
    (row,) = flow.create(flow.register({"only": []}, retry={"max_attempts": 1}))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.in_flight(CANCEL, row.task_uuid):
        late = threads.submit(flow.settlement().settle, worker.worker_id, running={step.token}, reason="SIGKILL")
        flow.wait_until_blocked()

    assert late.result().failures == ()
    assert flow.states(row.task_uuid) == {"only": "cancelled"}


# Rule 4: the lock on the worker


def test_settling_waits_for_a_commit_in_flight_and_counts_it(flow: Flow, threads):
    (row,) = flow.create(flow.register({"only": []}, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.in_flight(COMMIT, text(worker.batch(finish(step)))):
        settled = threads.submit(flow.settlement().settle, worker.worker_id, running={step.token}, reason="SIGKILL")
        flow.wait_until_blocked()

    assert settled.result().committed == (CommittedCount(SHOP, "step.done", "durable", "default", 1, 0),)
    assert (flow.states(row.task_uuid), len(flow.queue())) == ({"only": "complete"}, 1)


def test_settling_waits_for_a_commit_of_nothing_but_outside_events_too(flow: Flow, threads):
    flow.register({"only": []})
    worker = Worker(flow)
    with flow.in_flight(COMMIT, text(worker.batch(publication({"n": 1})))):
        settled = threads.submit(flow.settlement().settle, worker.worker_id, running=(), reason="SIGKILL")
        flow.wait_until_blocked()

    assert settled.result().committed == (CommittedCount(SHOP, "ops.noted", "durable", "default", 1, 0),)


def test_settling_waits_for_a_claim_in_flight_and_gives_its_leases_back(flow: Flow, threads):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    with flow.in_flight(CLAIM, worker.worker_id):
        settled = threads.submit(flow.settlement().settle, worker.worker_id, running=(), reason="SIGKILL")
        flow.wait_until_blocked()
    settled.result()

    assert flow.states(row.task_uuid) == {"only": "enqueued"}


def test_a_commit_that_comes_during_the_settling_is_fenced(flow: Flow, threads):
    (row,) = flow.create(flow.register({"only": []}, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.in_flight(FENCE, worker.worker_id):
        late = threads.submit(worker.commit, finish(step))
        flow.wait_until_blocked()

    with pytest.raises(WorkerFencedError):
        late.result()
    assert (flow.queue(), flow.attempts(row.task_uuid)) == ([], [])


def test_a_claim_that_comes_during_the_settling_is_fenced(flow: Flow, threads):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    with flow.in_flight(FENCE, worker.worker_id):
        late = threads.submit(worker.claim)
        flow.wait_until_blocked()

    with pytest.raises(WorkerFencedError):
        late.result()
    assert flow.states(row.task_uuid) == {"only": "enqueued"}


def test_a_worker_claims_extends_and_beats_while_its_commit_is_in_flight(flow: Flow):
    flow.create(flow.register({"only": []}, publishes_events=[event()]), count=3)
    worker = Worker(flow)
    step, other = worker.claim(2)
    with flow.in_flight(COMMIT, text(worker.batch(finish(step)))), flow.pool.connection() as connection:
        assert len(worker.claim()) == 1
        assert worker.claimer.extend([step, other]) == frozenset()
        connection.execute("SET lock_timeout = '5s'")
        heartbeat(connection, [WorkerState(worker.worker_id, "running", 2)])

    assert worker.claims.errors == []


# Rule 5: the same batch in two sessions, because the first one's connection was lost


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "rolled back"])
def test_a_batch_that_is_sent_again_while_the_first_try_still_runs_is_stored_once(flow: Flow, threads, committed: bool):
    flow.create(flow.register(CHAIN, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    batch = worker.batch(finish(step))
    with flow.in_flight(COMMIT, text(batch)) as first_try:
        again = threads.submit(worker.committer.commit, batch)
        flow.wait_until_blocked()
        if not committed:
            first_try.rollback()

    assert again.result().won == {step.token}
    assert len(flow.queue()) == 1
    assert flow.rows("SELECT seq FROM tasker.worker_commits WHERE worker_id = %s", worker.worker_id) == [{"seq": 1}]


# A client that is stopped in the middle of a commit (rule 12: the server ends its session)


STOPPED = """
import os, signal, sys
import psycopg
from tasker_actors.postgres.connect import connect
from tasker_actors.settings import DatabaseSettings

limits = DatabaseSettings(idle_in_transaction_timeout_ms=300)
connection = connect(sys.argv[1], application_name="stopped", database=limits, autocommit=False)
connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [sys.stdin.read()])
os.kill(os.getpid(), signal.SIGSTOP)
try:
    connection.commit()
except psycopg.errors.IdleInTransactionSessionTimeout:
    sys.exit(7)
"""


def test_others_go_on_when_a_client_is_stopped_that_holds_locks_and_what_it_had_not_committed_never_happened(
    flow: Flow, threads
):
    (row,) = flow.create(flow.register({"left": [], "right": []}, publishes_events=[event()]))
    one, two = Worker(flow), Worker(flow)
    held, free = one.claim(1)[0], two.claim(1)[0]
    with flow.pool.connection() as connection:
        connection.execute("ALTER FUNCTION tasker.commit_batch_v1 SET lock_timeout = '50ms'")
    stopped = subprocess.Popen([sys.executable, "-c", STOPPED, flow.url], stdin=subprocess.PIPE)
    assert stopped.stdin is not None
    stopped.stdin.write(one.batch(finish(held)))
    stopped.stdin.close()
    assert os.WIFSTOPPED(os.waitpid(stopped.pid, os.WUNTRACED)[1])

    assert two.commit(finish(free)).won == {free.token}

    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait(60) == 7
    with flow.pool.connection() as connection:
        connection.execute("ALTER FUNCTION tasker.commit_batch_v1 SET lock_timeout = '5s'")
    assert {error.sqlstate for error in two.commits.errors} == {"55P03"}
    assert flow.states(row.task_uuid) == {held.plan.name: "in_progress", free.plan.name: "complete"}
    assert [one["message"]["metadata"]["step_uuid"] for one in flow.queue()] == [free.step_uuid]


# Rule 7: nobody waits for a lock without an end


def test_every_function_that_takes_locks_has_a_lock_timeout(flow: Flow):
    found = flow.rows(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'tasker'::regnamespace AND prokind = 'f' "
        "AND proname ~ '^(begin|claim|commit|extend|fence|settle|expire|cancel|create)' "
        "AND NOT coalesce(proconfig::text, '') LIKE '%%lock_timeout=%%'"
    )
    assert found == []


def test_a_commit_that_gets_no_lock_in_time_is_repeated(flow: Flow, threads):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.in_flight("SELECT FROM tasker.tasks FOR UPDATE"):
        with flow.pool.connection() as connection:
            connection.execute("ALTER FUNCTION tasker.commit_batch_v1 SET lock_timeout = '20ms'")
        waiting = threads.submit(worker.commit, finish(step))
        while len(worker.commits.errors) < 2:
            flow.wait_until_blocked(0)
    with flow.pool.connection() as connection:
        connection.execute("ALTER FUNCTION tasker.commit_batch_v1 SET lock_timeout = '5s'")

    assert waiting.result().won == {step.token}
    assert {error.sqlstate for error in worker.commits.errors} == {"55P03"}
    assert flow.states(row.task_uuid) == {"only": "complete"}
