"""Claiming: which steps a worker gets, in which order, and what it gets with them (DESIGN 3, the steps table)."""

from __future__ import annotations

import threading

import orjson
import pytest
from structlog.testing import capture_logs
from support.flow import CHAIN, Flow, Worker
from support.leases import AGAIN, DONE, MIB, finish

from tasker_actors.delivery.committer import WorkerFencedError
from tasker_actors.delivery.returns import returned
from tasker_actors.postgres.workers import fence
from tasker_actors.workflow.outcome import StepFailure, StepSuccess


def tasks_of(steps):
    return [step.task.task_uuid for step in steps]


def test_the_most_urgent_step_comes_first_then_the_oldest(flow: Flow):
    registered = flow.register({"only": []})
    first, urgent, second, soon = (flow.create(registered, priority=n)[0].task_uuid for n in (0, 7, 0, 3))
    worker = Worker(flow)

    assert [tasks_of(worker.claim(1)) for _ in range(4)] == [[urgent], [soon], [first], [second]]


def test_one_claim_of_many_steps_lists_them_in_that_order_too(flow: Flow):
    registered = flow.register({"only": []})
    first, urgent, second, soon = (flow.create(registered, priority=n)[0].task_uuid for n in (0, 7, 0, 3))

    assert tasks_of(Worker(flow).claim()) == [urgent, soon, first, second]


def test_a_released_successor_is_as_old_and_as_urgent_as_its_task(flow: Flow):
    registered = flow.register(CHAIN)
    old, younger = (flow.create(registered)[0].task_uuid for _ in range(2))
    worker = Worker(flow)
    (step,) = worker.claim(1)
    worker.commit(finish(step))

    assert [(step.task.task_uuid, step.plan.name) for one in range(2) for step in worker.claim(1)] == [
        (old, "second"),
        (younger, "first"),
    ]


def test_a_step_that_is_given_back_keeps_its_place_in_the_queue(flow: Flow):
    registered = flow.register({"only": []})
    old, younger = (flow.create(registered)[0].task_uuid for _ in range(2))
    worker = Worker(flow)
    worker.claim(1)
    flow.settlement().settle(worker.worker_id, running=(), reason="killed")

    assert [tasks_of(Worker(flow).claim(1)) for _ in range(2)] == [[old], [younger]]


def test_a_retry_waits_for_its_delay_to_the_millisecond(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    worker.commit(finish(step, StepFailure("later", "handler_error", retry_after_ms=3_600_017)))

    (only,) = flow.steps(row.task_uuid).values()
    assert only["state"] == "waiting_for_retry"
    assert (only["run_at"] - only["updated_at"]).total_seconds() * 1000 == 3_600_017
    waiting = worker.claimer.claim(10, MIB)
    assert waiting is not None
    assert not waiting.steps
    assert 3_500_000 < (waiting.next_run_in_ms or 0) <= 3_600_017


def test_a_retry_whose_delay_is_over_is_claimed_as_the_next_attempt(flow: Flow):
    flow.create(flow.register({"only": []}, retry={"backoff": "none"}))
    worker = Worker(flow)
    attempts = []
    for _ in range(3):
        (step,) = worker.claim()
        attempts.append(step.attempt)
        worker.commit(finish(step, AGAIN))

    assert attempts == [1, 2, 3]
    assert worker.claim() == []


def test_a_claim_is_bounded_by_the_bytes_of_its_input_and_one_step_always_fits(flow: Flow):
    registered = flow.register({"only": []})
    flow.create(registered, count=5, context=orjson.dumps({"text": "x" * 1000}))
    worker = Worker(flow)

    claimed = [worker.claimer.claim(5, 2500), worker.claimer.claim(5, 10), worker.claimer.claim(5, MIB)]

    assert [(len(one.steps), one.more) for one in claimed if one] == [(2, True), (1, True), (2, False)]


def test_a_number_counts_as_postgresql_writes_it(flow: Flow):
    numbers = orjson.dumps([1e308] * 100)
    registered = flow.register({"root": [], "leaf": ["root"]})
    flow.create(registered, count=3, context=b'{"numbers":%b}' % numbers)
    worker = Worker(flow)

    roots = worker.claim(10, max_bytes=70_000)
    worker.commit(*(finish(root, StepSuccess([1e308] * 100)) for root in roots))

    assert len(numbers) < 1000
    assert len(roots) == 2, "three would be 93,000 bytes"
    assert len(worker.claim(10, max_bytes=70_000)) == 1, "the third, or a leaf with its root's result"


def test_results_that_a_step_depends_on_count_as_its_input(flow: Flow):
    registered = flow.register({"root": [], **{f"leaf{n}": ["root"] for n in range(4)}})
    flow.create(registered)
    worker = Worker(flow)
    (root,) = worker.claim()
    worker.commit(finish(root, StepSuccess({"text": "x" * 1000})))

    steps = worker.claim(10, max_bytes=2500)

    assert len(steps) == 2
    assert all(1000 < step.bytes < 1100 for step in steps)


def test_a_step_whose_inputs_are_too_large_fails_and_is_in_nobodys_way(flow: Flow):
    (big,) = flow.create(flow.register({"root": [], "leaf": ["root"]}))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0]))
    flow.rows("UPDATE tasker.steps SET result_bytes = 300 * 1024 * 1024 WHERE name = 'root' RETURNING 1")
    flow.create(flow.register({"only": []}, name="small"))

    (leaf,) = worker.claim(10)

    assert leaf.task.task_uuid == big.task_uuid
    assert leaf.plan.handler is None
    assert leaf.plan.unavailable is not None
    assert (leaf.plan.unavailable.error_type, leaf.plan.unavailable.retryable) == ("inputs_too_large", False)
    assert "314,572,8" in leaf.plan.unavailable.message
    assert worker.commit(finish(leaf, leaf.plan.unavailable)).finished_tasks == {big.task_uuid: "error"}
    assert [step.name for step in worker.claim(10)] == ["only"]


def test_what_does_not_fit_into_a_reply_is_not_continued(flow: Flow):
    flow.create(flow.register({"root": [], "leaf": ["root"]}))
    worker = Worker(flow)

    reply = worker.commit(finish(worker.claim()[0], StepSuccess({"text": "x" * MIB})), places=5)

    assert (len(reply.steps), reply.released) == (0, 1)


def test_a_claim_takes_no_more_than_its_limit_and_says_that_there_is_more(flow: Flow):
    flow.create(flow.register({"only": []}), count=3)
    claimer = Worker(flow).claimer

    claims = [claimer.claim(2, MIB), claimer.claim(2, MIB), claimer.claim(2, MIB)]

    assert [(len(one.steps), one.more) for one in claims if one] == [(2, True), (1, False), (0, False)]


def test_a_claim_passes_over_steps_that_another_session_holds(flow: Flow):
    registered = flow.register({"only": []})
    held, free = flow.create(registered), flow.create(registered)
    with flow.pool.connection() as other, other.transaction():
        other.execute("SELECT FROM tasker.steps WHERE task_uuid = %s FOR UPDATE", [held[0].task_uuid])

        assert tasks_of(Worker(flow).claim()) == [free[0].task_uuid]


def test_workers_that_claim_at_once_never_get_the_same_step(flow: Flow):
    flow.create(flow.register({"only": []}), count=200)
    workers = [Worker(flow) for _ in range(4)]
    taken: list[list[int]] = [[] for _ in workers]
    together = threading.Barrier(len(workers))

    def claim_all(number: int) -> None:
        together.wait()
        while steps := workers[number].claim(7):
            taken[number].extend(step.token for step in steps)

    threads = [threading.Thread(target=claim_all, args=(number,)) for number in range(len(workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    tokens = [token for one in taken for token in one]
    assert len(tokens) == len(set(tokens)) == 200
    leases = flow.rows("SELECT worker_id, count(*) AS n FROM tasker.steps WHERE state = 'in_progress' GROUP BY 1")
    assert {row["worker_id"]: row["n"] for row in leases} == {
        worker.worker_id: len(one) for worker, one in zip(workers, taken, strict=True) if one
    }


def test_a_worker_claims_only_its_namespaces_the_oldest_of_all_first(flow: Flow):
    rows = {}
    for namespace in ("bakery", "shop", "cafe"):
        registered = flow.register({"only": []}, namespace=namespace)
        rows[namespace] = [flow.create(registered)[0].task_uuid for _ in range(2)]
    worker = Worker(flow, namespaces=("cafe", "bakery"))

    assert set(tasks_of(worker.claim(3))) == {*rows["bakery"], rows["cafe"][0]}
    assert tasks_of(worker.claim(3)) == [rows["cafe"][1]]


def test_a_step_gets_the_results_of_all_its_ancestors_and_the_context_of_its_task(flow: Flow):
    flow.create(flow.register(CHAIN), context=b'{"amount": 7}')
    worker = Worker(flow)
    for result in ({"n": 1}, None):
        (step,) = worker.claim()
        worker.commit(finish(step, StepSuccess(result)))
    (third,) = worker.claim()

    assert third.dependency_results == {"first": {"n": 1}, "second": None}
    assert orjson.loads(third.task.context) == {"amount": 7}


def test_the_context_of_a_task_comes_once_for_all_its_steps(flow: Flow):
    flow.create(flow.register({f"step{n}": [] for n in range(5)}), context=orjson.dumps({"text": "x" * 5000}))
    reply = flow.rows(
        "SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 10, 30000, 1000000) AS r", Worker(flow).worker_id
    )[0]["r"]

    assert len(orjson.loads(reply)["steps"]) == 5
    assert reply.count("x" * 5000) == 1


def test_a_fenced_worker_claims_nothing(flow: Flow):
    flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    with flow.pool.connection() as connection:
        fence(connection, worker.worker_id, "test")

    with pytest.raises(WorkerFencedError):
        worker.claim()
    assert len(Worker(flow).claim()) == 1


def test_each_claim_of_a_step_has_a_token_of_its_own(flow: Flow):
    flow.create(flow.register({"only": []}, retry={"backoff": "none"}))
    worker = Worker(flow)
    (before,) = worker.claim()
    worker.commit(finish(before, AGAIN))
    (after,) = worker.claim()

    assert after.token > before.token
    assert worker.commit(finish(before, DONE)).won == frozenset()
    assert worker.commit(finish(after, DONE)).won == {after.token}


def test_a_template_with_a_handler_that_is_not_here_waits_uncounted_for_a_supervisor_that_has_it(flow: Flow):
    known = flow.register({"only": []})
    foreign = flow.register(CHAIN, name="newer")
    (row,) = flow.create(foreign)
    flow.create(known)
    lacking = Worker(flow, lacks={"shop.second"})

    claimed = lacking.claimer.claim(100, MIB)

    assert claimed is not None
    assert [step.plan.task_type for step in claimed.steps] == ["work"]
    assert [step.plan.name for step in claimed.foreign] == ["first"]  # its own handler is here, its successor's is not
    lacking.commit(*(finish(step) for step in claimed.steps), *(returned(step) for step in claimed.foreign))
    # Neither again at once, nor anything else of the namespace: its oldest step would be in the way each time.
    flow.create(known)
    assert lacking.claim() == []

    other = Worker(flow)
    assert other.run() == 4
    assert flow.attempts(row.task_uuid) == [(1, 1, "complete"), (2, 1, "complete"), (3, 1, "complete")]


def test_the_handler_that_is_missing_is_named_once(flow: Flow):
    flow.create(flow.register({"only": []}), count=2)
    worker = Worker(flow, lacks={"shop.only"})
    with capture_logs() as lines:
        first = worker.claimer.claim(1, MIB)
        assert first is not None
        worker.commit(*(returned(step) for step in first.foreign))
        assert worker.claim() == []

    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    facts = {key: warning[key] for key in ("namespace", "template", "step_name", "handler")}
    assert facts == {"namespace": "shop", "template": "work", "step_name": "only", "handler": "shop.only"}
