"""One bad entry of a batch costs itself, and large batches are cut (DESIGN 3 rule 7), through the real publisher."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest
from support.flow import Flow, Worker
from support.leases import DONE, MIB, SHOP, event, finish, publication
from support.publishing import Publishing

from tasker_actors.actors import ActorSystem
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.facts import CodeEvent
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.workflow.outcome import StepFailure, StepSuccess

LETTERS = f"{SHOP}_domain_events_dlq"
REFUSED_JSON = b'{"text": "\\u0000"}'
"""What our own codec never writes, and jsonb does not take."""


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    system = ActorSystem("worker-0")
    yield system
    assert system.stop_all([], time.monotonic() + 10) == ()


def refuse_payload(flow: Flow, text: str) -> None:
    """Let the queue refuse events whose payload contains a text."""
    with flow.pool.connection() as connection:
        connection.execute(
            f"ALTER TABLE pgmq.q_{SHOP}_domain_events ADD CHECK (NOT message ->> 'payload' LIKE '%%{text}%%')"
        )


def publishing(system: ActorSystem, worker: Worker, **limits: int) -> Publishing:
    return Publishing(system, worker.committer, worker_id=worker.worker_id, lease=worker.plans.lease, **limits)


def with_result(finished: FinishedStep, result: bytes) -> FinishedStep:
    return replace(finished, result=result)


def test_a_result_that_postgresql_refuses_fails_its_own_step_only(flow: Flow, system: ActorSystem):
    flow.create(flow.register({"only": []}), count=9)
    worker = Worker(flow)
    results = [finish(step) for step in worker.claim()]
    bad = results[6]
    publisher = publishing(system, worker)

    publisher.send(*publisher.hold(*results[:6], with_result(bad, REFUSED_JSON), *results[7:]))
    commits = publisher.committed(9)

    assert {item.token for one in commits for item in one.won} == {result.step.token for result in results}
    unfinished = flow.rows("SELECT task_uuid FROM tasker.steps WHERE state <> 'complete'")
    assert [str(row["task_uuid"]) for row in unfinished] == [bad.step.task.task_uuid]
    (failed,) = flow.steps(bad.step.task.task_uuid).values()
    assert (failed["state"], failed["error"]["error_type"], failed["attempts"]) == ("error", "result_refused", 1)
    assert "\\u0000 cannot be converted to text" in failed["error"]["message"]
    assert flow.task(bad.step.task.task_uuid)["status"] == "error"
    assert len(publisher.ledger) == 0


def test_what_is_told_of_a_refused_result_is_that_it_failed(flow: Flow, system: ActorSystem):
    flow.create(flow.register({"only": []}, publishes_events=[event("a.fast", "fast")]))
    worker = Worker(flow)
    (step,) = worker.claim()
    publisher = publishing(system, worker)

    publisher.send(*publisher.hold(with_result(finish(step), REFUSED_JSON)))
    ((item,),) = [one.won for one in publisher.committed(1)]

    assert item.finished is not None
    assert (item.finished.state, item.finished.derived.events) == ("error", ())
    assert getattr(item.finished.outcome, "error_type", "success") == "result_refused"


def test_an_event_that_postgresql_refuses_is_a_dead_letter_and_its_step_complete(flow: Flow, system: ActorSystem):
    flow.create(flow.register({"only": []}, publishes_events=[event()]), count=5)
    refuse_payload(flow, "poison")
    worker = Worker(flow)
    first, *others = worker.claim()
    bad = finish(first, StepSuccess({"text": "poison"}))
    publisher = publishing(system, worker)

    publisher.send(*publisher.hold(*(finish(step) for step in others), bad))
    publisher.committed(5)

    assert {row["state"] for row in flow.rows("SELECT state FROM tasker.steps")} == {"complete"}
    assert len(flow.queue()) == 4
    (letter,) = [one["message"] for one in flow.queue(LETTERS)]
    assert letter["event"]["event_id"] == bad.derived.events[0].event_id
    assert (letter["reason"]["code"], letter["payload_repr"]) == ("refused_by_database", "{'text': 'poison'}")
    assert flow.counts(worker.worker_id) == {("step.done", "durable"): (4, 1)}


def test_an_event_that_became_a_dead_letter_in_the_commit_is_not_told_as_published(flow: Flow, system: ActorSystem):
    flow.create(flow.register({"only": []}, publishes_events=[event("a.both", "broadcast"), event("a.fast", "fast")]))
    refuse_payload(flow, "poison")
    worker = Worker(flow)
    (step,) = worker.claim()
    publisher = publishing(system, worker)

    publisher.send(*publisher.hold(finish(step, StepSuccess({"text": "poison"}))))
    ((item,),) = [one.won for one in publisher.committed(1)]

    assert item.finished is not None
    derived = item.finished.derived
    assert [one.event_name for one in derived.events] == ["a.fast"]
    assert [(one.event_name, one.code) for one in derived.refused] == [("a.both", "refused_by_database")]
    assert flow.counts(worker.worker_id) == {("a.both", "broadcast"): (0, 1)}


def test_a_result_that_was_sent_and_then_rolled_back_is_told_to_nobody_as_stored(flow: Flow, system: ActorSystem):
    """Rule 6: the function has returned its row, and only the end of the transaction fails."""
    flow.create(flow.register({"only": []}, publishes_events=[event()]), count=3)
    with flow.pool.connection() as connection:
        connection.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF new.message #>> '{payload,text}' = 'poison' THEN RAISE check_violation; END IF;
                RETURN new;
            END $$
            """
        )
        connection.execute(
            f"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON pgmq.q_{SHOP}_domain_events "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    worker = Worker(flow)
    first, *others = worker.claim()
    bad = finish(first, StepSuccess({"text": "poison"}))
    publisher = publishing(system, worker)

    publisher.send(*publisher.hold(*map(finish, others), bad))
    told = [item.finished for one in publisher.committed(3) for item in one.won]

    with flow.pool.connection() as connection:
        connection.execute(f"DROP TRIGGER late ON pgmq.q_{SHOP}_domain_events")
        connection.execute("DROP FUNCTION refuse()")
    assert sorted(len(finished.derived.events) for finished in told if finished) == [0, 1, 1]
    assert (len(flow.queue()), len(flow.queue(LETTERS))) == (2, 1)
    assert flow.rows("SELECT DISTINCT state FROM tasker.steps") == [{"state": "complete"}]


def test_an_outside_event_that_postgresql_refuses_becomes_a_dead_letter_and_says_so(flow: Flow, system: ActorSystem):
    flow.register({"only": []})
    refuse_payload(flow, "poison")
    worker = Worker(flow)
    publisher = publishing(system, worker)

    publisher.send(publication("fine"), publication("poison"))
    won = [item for one in publisher.committed(2) for item in one.won]

    assert [one["message"]["payload"] for one in flow.queue()] == ["fine"]
    assert [one["message"]["payload_repr"] for one in flow.queue(LETTERS)] == ["'poison'"]
    assert [[one.code for one in item.publication.derived.refused] for item in won if item.publication] == [
        [],
        ["refused_by_database"],
    ]


def test_a_queue_that_cannot_be_made_costs_the_events_of_its_namespace_only(flow: Flow, system: ActorSystem):
    rows = {}
    for namespace in (SHOP, "cafe"):
        registered = flow.register({"only": []}, namespace=namespace, publishes_events=[event()])
        rows[namespace] = flow.create(registered)[0].task_uuid
    worker = Worker(flow, namespaces=(SHOP, "cafe"))
    steps = worker.claim()
    with flow.pool.connection() as connection:  # a view stands where the queue's table would have to be made
        connection.execute("ALTER TABLE pgmq.q_cafe_domain_events RENAME TO away")
        connection.execute("CREATE VIEW pgmq.q_cafe_domain_events AS SELECT 1 AS one")
    publisher = publishing(system, worker)

    publisher.send(*publisher.hold(*map(finish, steps)))
    publisher.committed(2)
    with flow.pool.connection() as connection:
        connection.execute("DROP VIEW pgmq.q_cafe_domain_events")
        connection.execute("ALTER TABLE pgmq.away RENAME TO q_cafe_domain_events")

    assert {name: flow.states(uuid)["only"] for name, uuid in rows.items()} == {SHOP: "complete", "cafe": "complete"}
    assert len(flow.queue()) == 1
    assert len(flow.queue("cafe_domain_events_dlq")) == 1


def test_300_large_results_are_cut_by_bytes_and_all_stored(flow: Flow, system: ActorSystem):
    flow.create(flow.register({"only": []}), count=300)
    worker = Worker(flow)
    steps = worker.claim(300)
    publisher = publishing(system, worker, max_batch_bytes=MIB // 4)
    large = finish(steps[0], StepSuccess({"text": "x" * (MIB // 16)})).result
    assert large is not None

    publisher.send(*publisher.hold(*(with_result(finish(step), large) for step in steps)))
    commits = publisher.committed(300)

    assert {len(one.won) for one in commits} == {3}
    assert flow.rows("SELECT count(*) AS n, min(result_bytes) AS b FROM tasker.steps WHERE state = 'complete'") == [
        {"n": 300, "b": len(large)}
    ]
    assert worker.commits.errors == []


def test_dead_letters_count_among_the_bytes_of_a_batch(flow: Flow, system: ActorSystem):
    declared = [event("a.strict", schema={"type": "object", "required": ["missing"]})]
    flow.create(flow.register({"only": []}, publishes_events=declared), count=12)
    worker = Worker(flow)
    publisher = publishing(system, worker, max_batch_bytes=MIB // 4)
    failure = StepFailure("no", "permanent_error", retryable=False, metadata={"text": "x" * (MIB // 16)})
    results = [finish(step, failure) for step in worker.claim()]

    publisher.send(*publisher.hold(*results))
    commits = publisher.committed(12)

    assert max(len(one.won) for one in commits) == 3
    assert len(flow.queue(LETTERS)) == 12


def test_a_chain_is_continued_through_the_publisher_and_its_ledger_never_empty_in_between(
    flow: Flow, system: ActorSystem
):
    (row,) = flow.create(flow.register({"first": [], "second": ["first"]}))
    worker = Worker(flow)
    (step,) = worker.claim()
    publisher = publishing(system, worker)
    code = [CodeEvent("a.code", orjson.loads(b"{}"), DeliveryMode.DURABLE)]

    publisher.send(*publisher.hold(finish(step, DONE, code_events=code)))
    ((second,),) = [one.continued for one in publisher.committed(1)]
    assert [item.step.token for item in publisher.ledger.items()] == [second.token]
    publisher.ledger.remove([second.token])
    publisher.send(*publisher.hold(finish(second)))

    assert [one.finished_tasks for one in publisher.committed(1)] == [{row.task_uuid: "complete"}]
    assert publisher.ledger.emptied.is_set()
